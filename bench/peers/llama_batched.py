#!/usr/bin/env python3
"""Worker: llama.cpp, all sequences decoded in one batch, through llama-cpp-python's low-level calls.

One run: prefill of all prompts, then one token for every sequence at a time, each drawn at temperature 1 by llama.cpp's own
sampler. `seconds` is all of it, as a rollout pays for it; decode_seconds is llama_decode of the new tokens alone, which is what
llama-batched-bench prints.
"""

import argparse
import time

import llama_cpp as llama

from worker import load_workload, serve

BATCH_TOKENS = 2048


class Session:
    """One context with room for the whole workload."""

    def __init__(self, gguf: str, sequences: int, tokens_each: int, threads: int):
        self.model = llama.llama_model_load_from_file(gguf.encode(), llama.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"llama.cpp can't load {gguf}")
        params = llama.llama_context_default_params()
        params.n_ctx, params.n_seq_max = sequences * tokens_each, sequences
        params.n_batch, params.n_ubatch = BATCH_TOKENS, 512
        params.n_threads = params.n_threads_batch = threads
        self.context = llama.llama_init_from_model(self.model, params)
        self.batch = llama.llama_batch_init(BATCH_TOKENS, 0, 1)
        self.sampler = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        llama.llama_sampler_chain_add(self.sampler, llama.llama_sampler_init_temp(1.0))
        llama.llama_sampler_chain_add(self.sampler, llama.llama_sampler_init_dist(1))

    def clear(self) -> None:
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)

    def decode(self, rows: list[tuple[int, int, int, bool]]) -> None:
        """rows: token, position, sequence, whether its logits are wanted."""
        for i, (token, position, sequence, logits) in enumerate(rows):
            self.batch.token[i] = token
            self.batch.pos[i] = position
            self.batch.n_seq_id[i] = 1
            self.batch.seq_id[i][0] = sequence
            self.batch.logits[i] = logits
        self.batch.n_tokens = len(rows)
        if llama.llama_decode(self.context, self.batch) != 0:
            raise SystemExit("llama_decode failed")
        llama.llama_synchronize(self.context)

    def sample(self, row: int) -> int:
        return llama.llama_sampler_sample(self.sampler, self.context, row)


def prefill(session: Session, prompts: list[list[int]]) -> list[int]:
    """Decodes the prompts, as many whole ones at a time as fit; the first new token of each."""
    first, rows, ends = [], [], []

    def flush() -> None:
        session.decode(rows)
        first.extend(session.sample(i) for i in ends)
        rows.clear()
        ends.clear()

    for sequence, ids in enumerate(prompts):
        if len(rows) + len(ids) > BATCH_TOKENS:
            flush()
        rows.extend((token, i, sequence, i == len(ids) - 1) for i, token in enumerate(ids))
        ends.append(len(rows) - 1)
    flush()
    return first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gguf")
    parser.add_argument("workload")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    work = load_workload(args.workload)
    prompts, new = work["prompts"], work["new_tokens"]
    quiet = llama.llama_log_callback(lambda *_: None)
    llama.llama_log_set(quiet, None)
    llama.llama_backend_init()
    session = Session(args.gguf, len(prompts), max(map(len, prompts)) + new, args.threads)

    def run() -> dict:
        session.clear()
        tokens, decoding = prefill(session, prompts), 0.0
        for step in range(new - 1):
            start = time.perf_counter()
            session.decode([(t, len(prompts[s]) + step, s, True) for s, t in enumerate(tokens)])
            decoding += time.perf_counter() - start
            tokens = [session.sample(s) for s in range(len(prompts))]
        return {"tokens": len(prompts) * new, "decode_seconds": decoding}

    serve({"what": "llama.cpp", "version": llama.__version__, "gguf": args.gguf.rsplit("/", 1)[-1],
           "threads": args.threads}, run)


if __name__ == "__main__":
    main()
