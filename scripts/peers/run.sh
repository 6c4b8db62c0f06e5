#!/bin/sh
# Holds Tactus against transformers, TRL and llama.cpp on SmolLM2-135M: the same numbers first, then the speed.
#
#   scripts/peers/run.sh [--venv DIR] [--checkpoint RUN/checkpoints/step-NNNNNN] [--no-speed]
#
# Makes a Python environment of about 5 GB (2.5 GB to download) in .venv-peers, or uses DIR; makes SmolLM2 and what the
# peers need of it in build/peers; checks the committed goldens afresh; compares generate, score, tokenize and, when given,
# a checkpoint (scripts/peers/against_transformers.py); then measures in turn, five rounds each, and appends JSON lines to
# bench/results/. The speed part takes about an hour on two cores: run it on an idle machine.
set -eu
cd "$(dirname "$0")/../.."

venv=.venv-peers
checkpoint=""
speed=yes
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help)
      sed -n '2,9s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    --venv) venv=${2:?--venv needs a folder}; shift 2 ;;
    --checkpoint) checkpoint=${2:?--checkpoint needs a folder}; shift 2 ;;
    --no-speed) speed=no; shift ;;
    *) echo "peers/run: unknown argument '$1'; see --help" >&2; exit 2 ;;
  esac
done

make_venv() {
  [ -x "$venv/bin/python" ] && "$venv/bin/python" -c 'import trl, gguf' 2>/dev/null && return 0
  echo "peers/run: making $venv, about 2.5 GB to download"
  python3 -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.11.0 transformers==5.17.0 \
    tokenizers==0.23.3 trl==1.16.0 datasets accelerate gguf==0.19.0 scikit-build-core cmake ninja numpy
}

# llama.cpp for the machine at hand: a wheel made elsewhere might lack its vector instructions.
make_llama() {
  "$venv/bin/python" -c 'import llama_cpp' 2>/dev/null && return 0
  echo "peers/run: building llama.cpp (some minutes)"
  CMAKE_ARGS="-DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_CURL=OFF" CMAKE_BUILD_PARALLEL_LEVEL=$(nproc) \
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-binary llama-cpp-python llama-cpp-python==0.3.36
}

make_models() {
  mkdir -p build/peers
  for dtype in float32 bfloat16; do
    [ -d "build/peers/smollm2-$dtype" ] || python scripts/models/make_smollm2.py "build/peers/smollm2-$dtype" --dtype $dtype
  done
  for dtype in f32 f16 bf16; do
    [ -f "build/peers/smollm2.$dtype.gguf" ] && continue
    python bench/peers/make_gguf.py "build/peers/smollm2.$dtype.gguf.part" --dtype $dtype
    mv "build/peers/smollm2.$dtype.gguf.part" "build/peers/smollm2.$dtype.gguf"
  done
  python bench/peers/workload.py build/peers/smollm2-float32 build/peers/workload.json
}

# Both dtypes of each peer; where a machine has no bf16 instructions its bf16 takes a hundred times as long and is left out.
measure() {
  threads=$(nproc)
  work=build/peers/workload.json
  log=bench/results/peers-$(date +%Y%m%d).jsonl
  dtypes=float32
  grep -qE 'avx512_bf16|amx_bf16' /proc/cpuinfo && dtypes="float32 bfloat16"
  for dtype in $dtypes; do
    folder=build/peers/smollm2-$dtype
    autocast=""
    ggufs="f32 f16"
    [ "$dtype" = bfloat16 ] && autocast=--autocast && ggufs=bf16
    set -- --side tactus "build/release/bin/peer_worker generate $folder $work --dtype $dtype --threads $threads" \
      --side transformers "python bench/peers/hf_generate.py $folder $work --dtype $dtype --threads $threads"
    for gguf in $ggufs; do
      set -- "$@" --side "llama.cpp-$gguf" "python bench/peers/llama_batched.py build/peers/smollm2.$gguf.gguf $work --threads $threads"
    done
    python bench/peers/compare.py "generate-$dtype" "$@" --log "$log"
    python bench/peers/compare.py "update-$dtype" --log "$log" \
      --side tactus "build/release/bin/peer_worker update $folder $work --dtype $dtype --threads $threads" \
      --side TRL "python bench/peers/trl_grpo.py $folder $work --threads $threads $autocast"
  done
  echo "peers/run: figures are in $log"
}

scripts/setup.sh
make_venv
PATH=$(cd "$venv/bin" && pwd):$PATH
export PATH HF_HUB_OFFLINE=1
make_llama
make_models
cmake --preset release >/dev/null
cmake --build --preset release --parallel "$(nproc)" --target tactus peer_worker

failed=0
python scripts/goldens/make_tiny_models.py --check || failed=1
python scripts/peers/against_transformers.py --model build/peers/smollm2-float32 --bf16-model build/peers/smollm2-bfloat16 \
  ${checkpoint:+--checkpoint "$checkpoint"} || failed=1
[ $speed = no ] || measure
exit $failed
