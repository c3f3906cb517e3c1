"""An untrusted certificate for localhost, made once a process by the openssl program."""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path


@functools.cache
def untrusted_certificate() -> tuple[str, str]:
    """Return the paths of a certificate and its key; the folder lives as long as the process."""
    folder = Path(tempfile.mkdtemp(prefix="untrusted-certificate-"))
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return str(certificate), str(key)
