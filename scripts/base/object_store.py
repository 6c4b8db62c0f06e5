"""An S3 server on this machine, for checks: SeaweedFS from .venv, and what it has by its own listing."""

import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import urllib.request

from base.local import ROOT, free_port, read_url, require, skip, stop, wait

READY_S = 90
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tactus", "AWS_SECRET_ACCESS_KEY": "a-secret-of-this-check", "AWS_EC2_METADATA_DISABLED": "true"}


def find_weed() -> str:
    """The program; ends the process with 77 where there is none."""
    weed = shutil.which("weed", path=f"{ROOT / '.venv/bin'}:{os.environ['PATH']}")
    return weed or skip("no weed (SeaweedFS): scripts/setup.sh --lint installs it")


class Store:
    """SeaweedFS with its S3 gateway, in a folder; its filer lists and takes files without S3's signatures."""

    def __init__(self, weed: str, folder: pathlib.Path) -> None:
        self.s3, self.filer = free_port(), free_port()
        master, volume = free_port(), free_port()
        folder.mkdir()
        self.log = (folder / "log").open("w")
        ports = [f"-s3.port={self.s3}", f"-filer.port={self.filer}", f"-master.port={master}", f"-volume.port={volume}"]
        grpc = [f"-{role}.port.grpc={free_port()}" for role in ("s3", "filer", "master", "volume")]
        self.process = subprocess.Popen(
            [weed, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
             "-master.volumeSizeLimitMB=512", "-volume.max=32", "-master.telemetry=false", *ports, *grpc],
            stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True, env=os.environ | CREDENTIALS)  # fmt: skip
        self.query = f"endpoint_override=127.0.0.1:{self.s3}&scheme=http&region=us-east-1"

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.filer}/buckets/{path}"

    def ready(self) -> bool:
        return read_url(f"http://127.0.0.1:{self.filer}/")[0] == 200 and read_url(f"http://127.0.0.1:{self.s3}/healthz")[0] == 200

    def put(self, path: str, content: bytes) -> bool:
        """False while its volumes are not there yet."""
        request = urllib.request.Request(self.url(path), data=content, method="PUT", headers={"Content-Type": "application/octet-stream"})
        try:
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30).read()
        except (OSError, http.client.HTTPException):
            return False
        return True

    def entries(self, folder: str) -> list[dict]:
        """What stands in a folder; empty where there is none."""
        request = urllib.request.Request(self.url(folder) + "/?limit=1000", headers={"Accept": "application/json"})
        try:
            answer = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10)
        except OSError:
            return []
        return json.load(answer).get("Entries") or []

    def names(self, folder: str) -> list[str]:
        return [entry["FullPath"].rsplit("/", 1)[1] for entry in self.entries(folder)]

    def files_below(self, folder: str) -> list[str]:
        """Without folders: the store keeps the names of empty ones for a while."""
        files = []
        for entry in self.entries(folder):
            path = entry["FullPath"].removeprefix("/buckets/")
            files += self.files_below(path) if entry["Mode"] & (1 << 31) else [path]
        return files

    def complete_steps(self, run: str) -> list[int]:
        steps = [name for name in self.names(f"{run}/checkpoints") if name.startswith("step-")]
        whole = [name for name in steps if "manifest.json.sha256" in self.names(f"{run}/checkpoints/{name}")]
        return sorted(int(name.removeprefix("step-")) for name in whole)

    def take_folder(self, path: str, folder: pathlib.Path) -> None:
        """Puts the files of a folder there, once it is ready; ends the process where it never is."""
        require(wait(self.ready, READY_S), "the object store is ready")
        for file in sorted(folder.iterdir()):
            require(wait(lambda file=file: self.put(f"{path}/{file.name}", file.read_bytes()), READY_S), f"it takes {file.name}")

    def close(self) -> None:
        os.killpg(self.process.pid, signal.SIGCONT)
        stop(self.process, 10)
        self.log.close()
