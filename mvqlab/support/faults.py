"""What a machine that runs out of something says, in one line with what to do."""

from __future__ import annotations

import errno
import shutil

# The system's reasons, and what a person can do about each.
ADVICE = {
    errno.ENOSPC: "free some space there, or write elsewhere",
    getattr(errno, "EDQUOT", errno.ENOSPC): "free some of what you may use there, or write elsewhere",
    errno.EROFS: "nothing can be written there: write elsewhere",
    errno.EACCES: "ask for the right to it, or name another place",
    errno.EPERM: "ask for the right to it, or name another place",
    errno.EIO: "the disk or the network failed: try again, and look after what is stored there",
    errno.EMFILE: "too many files are open in this process: raise the limit (`ulimit -n`)",
    errno.ENFILE: "too many files are open on this machine: close some",
    errno.EFBIG: "a file may not grow so large here: raise the limit (`ulimit -f`), or write elsewhere",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "a link there leads to itself: name another place",
}
_MEMORY_WORDS = (
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "out of memory",
    "unable to allocate",
    "std::bad_alloc",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "unable to open shared memory object",
    "out of shared memory",
)


def is_out_of_memory(name: str, message: str) -> bool:
    """Whether an exception's name or message says that memory ran out, on the device or on the host."""
    if name in {"MemoryError", "OutOfMemoryError", "_ArrayMemoryError"}:
        return True
    says_so = any(words in message.lower() for words in _MEMORY_WORDS)
    return says_so and name in {"RuntimeError", "AcceleratorError", "OSError"}


def explained(error: BaseException) -> str | None:
    """`error` in one line with what to do, if it says that memory, disk or rights ran out; else None."""
    kind, message = type(error).__name__, " ".join(str(error).split())
    if is_out_of_memory(kind, message) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return (
            "out of memory: make batches smaller (stage1.batch_size, stage2.batch_size), the images or the "
            f"model, or draw fewer images at a time ({kind}: {message[:200]})"
        )
    if isinstance(error, OSError) and error.errno is not None:
        where = f"{error.filename}: " if error.filename is not None else ""
        reason = error.strerror or message
        advice = ADVICE.get(error.errno)
        return f"{where}{reason}" + (f": {advice}" if advice else "")
    if isinstance(error, shutil.Error):  # of many files at once: one tells enough
        failed = error.args[0] if error.args else ""
        return " ".join(str(failed[0][-1] if isinstance(failed, list) and failed else failed).split())
    return None


def in_one_line(error: Exception) -> str | None:
    """What `error` tells a person, where a traceback would only hide it; None where it would not."""
    # a loss that is not finite is reported with Python's own exception
    is_ours = type(error).__module__.split(".")[0] == "mvqlab"
    if is_ours or isinstance(error, FloatingPointError):
        return str(error)
    return explained(error)
