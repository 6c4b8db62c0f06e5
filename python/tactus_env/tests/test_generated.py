import pathlib
import shutil
import subprocess
import tempfile
import unittest

PACKAGE = pathlib.Path(__file__).resolve().parents[1]
PROTO = PACKAGE.parents[1] / "proto"


@unittest.skipUnless(shutil.which("protoc") and PROTO.is_dir(), "needs protoc and Tactus' tree")
class Generated(unittest.TestCase):
    def test_messages_are_those_of_the_proto_file(self):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["protoc", "-I", PROTO, f"--python_out={folder}", PROTO / "environment_service.proto"], check=True)
            made = pathlib.Path(folder, "environment_service_pb2.py").read_text()
        kept = (PACKAGE / "tactus_env/environment_service_pb2.py").read_text()
        descriptor = [line for line in made.splitlines() if "AddSerializedFile" in line]
        self.assertEqual(len(descriptor), 1)
        self.assertEqual(descriptor, [line for line in kept.splitlines() if "AddSerializedFile" in line],
                         "protoc -I proto --python_out=python/tactus_env/tactus_env proto/environment_service.proto")


if __name__ == "__main__":
    unittest.main()
