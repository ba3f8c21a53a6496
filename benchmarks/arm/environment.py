"""An aarch64 Python and the engines' aarch64 wheels, unpacked into a cache folder and run by qemu-user.

Nothing is installed: apt-get resolves and downloads Debian's own packages with a state of its own, dpkg-deb unpacks
them, and pip unpacks wheels of the versions that this Python has, so that host and emulation differ in kernels alone.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import qlot.runtime
from qlot.benchmarks.arm.errors import ArmError, ArmUnavailable
from qlot.benchmarks.arm.processors import PROCESSORS, Processor
from qlot.benchmarks.peers.environment import last_line
from qlot.runtime.bundle.manifest import Target

EMULATORS = ("qemu-aarch64-static", "qemu-aarch64")
SYSTEM = ("python3", "libstdc++6")  # Debian packages; what they depend on comes along
COMMON = ("numpy", "pydantic")  # what the runtime imports besides an engine
ENGINES: dict[Target, tuple[str, str]] = {  # distribution, module
    "onnx": ("onnxruntime", "onnxruntime"),
    "tflite": ("ai-edge-litert", "ai_edge_litert.interpreter"),
}
GLIBC = range(17, 37)  # 2.x of manylinux; Debian 12, the first with a Python that we support, has 2.36


@dataclass(frozen=True)
class Environment:
    """What runs a script on an emulated processor.

    Attributes:
        qemu: the emulator.
        system: folder of the unpacked Debian packages.
        packages: folder of the unpacked wheels.
        options: of the emulator, before all others.
    """

    qemu: Path
    system: Path
    packages: Path | None = None
    options: tuple[str, ...] = ()

    def run(self, processor: Processor, arguments: Sequence[str], keep_bytecode: bool = False) -> tuple[int, str]:
        """Run the emulated Python with `arguments`; return its exit code and what it wrote to standard error."""
        with tempfile.TemporaryDirectory(prefix="qlot-arm-") as name:
            root = Path(name)
            for entry in self.system.iterdir():
                (root / entry.name).symlink_to(entry)
            processor.write_files(root)
            code = root / "code" / "qlot"  # of the project, what needs no more than the wheels
            (code / "benchmarks").mkdir(parents=True)
            (code / "runtime").symlink_to(Path(qlot.runtime.__path__[0]))
            (code / "benchmarks" / "arm").symlink_to(Path(__file__).parent)
            paths = [*([str(self.packages)] if self.packages else []), str(code.parent)]
            environ = {"PYTHONHOME": str(self.system / "usr"), "PYTHONPATH": ":".join(paths), "LANG": "C.UTF-8"}
            if not keep_bytecode:
                environ["PYTHONDONTWRITEBYTECODE"] = "1"
            done = subprocess.run(
                [str(self.qemu), *self.options, "-cpu", processor.model, "-L", name, str(self.python), *arguments],
                capture_output=True, text=True, check=False, env=environ,
            )  # fmt: skip
        return done.returncode, done.stderr

    @property
    def python(self) -> Path:
        """The emulated interpreter."""
        return self.system / "usr/bin/python3"

    @property
    def version(self) -> str:
        """Its version, such as "3.11": Debian's link names it."""
        return self.python.readlink().name.removeprefix("python")

    def check(self, statement: str) -> None:
        """Run a statement on the plainest processor, keeping the bytecode of what it imports.

        Raises:
            ArmError: it fails.
        """
        code, text = self.run(PROCESSORS["neon"], ["-c", statement], keep_bytecode=True)
        if code:
            raise ArmError(f"the emulated Python cannot run {statement!r}: {last_line(text)}")


def default_cache() -> Path:
    """Where the environment lives unless the user says otherwise."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "qlot" / "arm"


def emulator() -> Path:
    """Find qemu.

    Raises:
        ArmUnavailable: it is not installed.
    """
    for name in EMULATORS:
        found = shutil.which(name)
        if found:
            return Path(found)
    raise ArmUnavailable("qemu is not installed: on Debian, apt-get install --no-install-recommends qemu-user-static")


def requirements(target: Target) -> list[str]:
    """Return the pins of a target's engine and of what the runtime needs besides: the versions of this Python.

    Raises:
        ArmError: the target has no engine that runs on Linux on ARM, or this Python has not its engine.
    """
    if target not in ENGINES:
        raise ArmError(f"a {target} bundle runs on Apple's systems only: there are no Linux kernels of it to emulate.")
    try:
        return [f"{name}=={importlib.metadata.version(name)}" for name in (*COMMON, ENGINES[target][0])]
    except importlib.metadata.PackageNotFoundError as e:
        raise ArmError(f"{e.name} is not installed here, and both sides need it: pip install {e.name}") from e


def prepare(target: Target, cache: Path | None = None) -> Environment:
    """Return the environment for a target's engine, downloading it first if need be (77 MB, and 130 MB for an engine).

    Raises:
        ArmUnavailable: qemu, apt-get or pip is missing, or a download fails.
        ArmError: a package does not exist for aarch64, does not run, or cannot be written.
    """
    cache, qemu, pins = (cache or default_cache()).absolute(), emulator(), requirements(target)
    system = built(cache / f"{_release()}-arm64", lambda folder: _unpack_system(qemu, folder))
    environment = Environment(qemu, system)
    name = "-".join(["python", environment.version, *(pin.replace("==", "-") for pin in pins)])
    packages = built(cache / name, lambda folder: _unpack_packages(environment, target, pins, folder))
    return Environment(qemu, system, packages)


def built(folder: Path, build: Callable[[Path], None]) -> Path:
    """Return `folder`, filled by `build` if it does not exist: beside its place, and renamed when complete.

    Raises:
        ArmError: it cannot be written; and what `build` raises.
    """
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as e:
        raise ArmError(f"cannot write {folder}: {e.strerror}. Choose another place with --cache.") from e
    try:
        fresh = temporary / "new"
        fresh.mkdir()
        build(fresh)
        try:
            fresh.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another run was faster, with the same content
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _release() -> str:
    try:
        known = platform.freedesktop_os_release()
    except OSError:
        known = {}
    return "-".join(filter(None, (known.get("ID", "linux"), known.get("VERSION_ID"))))


def _unpack_system(qemu: Path, folder: Path) -> None:
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise ArmUnavailable(f"{tool} is missing: the ARM Python comes out of Debian's packages. Run on Debian.")
    with tempfile.TemporaryDirectory(prefix="qlot-apt-") as name:
        apt = [
            "apt-get", "-q", "-o", "APT::Architecture=arm64", "-o", "APT::Architectures=arm64",
            "-o", f"Dir::State={name}/state", "-o", f"Dir::State::status={name}/status",
            "-o", f"Dir::Cache={name}/cache", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none",
        ]  # fmt: skip
        for part in ("state/lists/partial", "cache/archives/partial"):
            (Path(name) / part).mkdir(parents=True)
        (Path(name) / "status").touch()  # nothing is installed: all that is needed is downloaded
        _captured([*apt, "update"])  # what it lacks, the next command misses
        done = _captured([*apt, "install", "-y", "--download-only", "--no-install-recommends", *SYSTEM])
        if done.returncode:
            raise ArmUnavailable(f"cannot download Debian's {', '.join(SYSTEM)} for arm64: {last_line(done.stderr)}")
        for package in sorted((Path(name) / "cache/archives").glob("*.deb")):
            done = _captured(["dpkg-deb", "-x", str(package), str(folder)])
            if done.returncode:
                raise ArmError(f"cannot unpack {package.name}: {last_line(done.stderr)}")
    Environment(qemu, folder).check("import platform; assert platform.machine() == 'aarch64'")


def _unpack_packages(environment: Environment, target: Target, pins: list[str], folder: Path) -> None:
    done = _captured([*_pip(), "install", *_wheel_options(environment.version), "--target", str(folder), *pins])
    if done.returncode:
        if "Retrying (" in done.stderr:  # pip's last line then claims that there is no such package
            raise ArmUnavailable(f"the package index cannot be reached, so that {', '.join(pins)} cannot be had.")
        raise ArmError(
            f"no aarch64 wheels of {', '.join(pins)} for Python {environment.version}: {last_line(done.stderr)}"
        )
    modules = ", ".join([*COMMON, ENGINES[target][1]])
    Environment(environment.qemu, environment.system, folder).check(f"import {modules}")


def _pip() -> list[str]:
    """Any pip will do: it is told for which Python and which machine it unpacks."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    found = shutil.which("pip3") or shutil.which("pip")
    if not found:
        raise ArmUnavailable("pip is missing: it downloads the aarch64 wheels. On Debian, apt-get install python3-pip")
    return [found]


def _wheel_options(version: str) -> list[str]:
    platforms = ["manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in GLIBC)]
    return [
        "--quiet", "--no-compile", "--only-binary=:all:", "--implementation=cp", f"--python-version={version}",
        *(f"--platform={platform}" for platform in platforms),
    ]  # fmt: skip


def _captured(command: list[str]) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "PYTHONHOME"}}
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**environ, "LC_ALL": "C.UTF-8"})
