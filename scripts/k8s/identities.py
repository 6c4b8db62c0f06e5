"""Whom a learner's port lets in, seen from outside: certificates of deploy/certificates/make_certs.sh, and TLS by hand."""

import os
import pathlib
import shutil
import socket
import ssl
import subprocess

from base.local import ROOT

ANSWER_S = 10


def _request() -> bytes:
    """HTTP/2's preface, and a call of a method that no service has: headers as they are, not packed."""
    headers = {":method": "POST", ":scheme": "https", ":path": "/tactus.wire.Nothing/Call", ":authority": "localhost",
               "content-type": "application/grpc", "te": "trailers"}  # fmt: skip
    packed = b"".join(b"\x00" + bytes([len(k)]) + k.encode() + bytes([len(v)]) + v.encode() for k, v in headers.items())
    settings, end = bytes(3) + b"\x04\x00" + bytes(4), b"\x05"  # of the headers, and of the stream
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + len(packed).to_bytes(3, "big") + b"\x01" + end + (1).to_bytes(4, "big") + packed


def make_certificates(folder: pathlib.Path, run: str = "tactus", authority: pathlib.Path | None = None) -> None:
    """A run's, of the authority in another folder, or of one of its own that stays when they are made anew."""
    folder.mkdir(exist_ok=True)
    for file in ("ca.key", "ca.crt") if authority else ():
        shutil.copy(authority / file, folder)
    env = os.environ | {"RUN": run, "NAMESPACE": "tactus"}
    subprocess.run([ROOT / "deploy/certificates/make_certs.sh", folder], check=True, stdout=subprocess.DEVNULL, env=env)


def make_expired(folder: pathlib.Path, certs: pathlib.Path) -> None:
    """The actor's of `certs`, but for its end, which was a day ago."""
    folder.mkdir()
    shutil.copy(certs / "actor/tls.key", folder)
    (folder / "names").write_text("subjectAltName=URI:spiffe://tactus/tactus/tactus/actor\nextendedKeyUsage=serverAuth,clientAuth\n")
    for command in [["req", "-new", "-key", "tls.key", "-subj", "/CN=tactus-actor", "-out", "request"],
                    ["x509", "-req", "-in", "request", "-CA", certs / "ca.crt", "-CAkey", certs / "ca.key", "-set_serial", "1", "-days", "-1",
                     "-extfile", "names", "-out", "tls.crt"]]:  # fmt: skip
        subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)


def call(port: int, pair: pathlib.Path, ca: pathlib.Path) -> tuple[bool, bytes]:
    """Whether the server answers a call of who holds this certificate and key, were it with a refusal, and the certificate that
    it showed."""
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(pair / "tls.crt", pair / "tls.key")
    shown = b""
    try:
        with socket.create_connection(("127.0.0.1", port), ANSWER_S) as plain, context.wrap_socket(plain, server_hostname="localhost") as s:
            shown = s.getpeercert(binary_form=True) or b""
            s.sendall(_request())
            with s.makefile("rb") as answer:
                while len(head := answer.read(9)) == 9:
                    answer.read(int.from_bytes(head[:3], "big"))
                    if head[3] == 1:  # headers: of the call's answer
                        return True, shown
            return False, shown
    except OSError:  # ssl.SSLError among them
        return False, shown


def certificate_in(pair: pathlib.Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert((pair / "tls.crt").read_text())
