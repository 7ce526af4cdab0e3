"""Certificates of the rig: an authority, a broker's and a client's certificate, and a stranger's of each.

PEM, P-256, ten years, made once per kit by openssl. The stranger's authority signs for the same names, so that a client
which trusts it, or shows its certificate, is refused for that reason alone.
"""

NAMES = "subjectAltName=IP:127.0.0.1,DNS:localhost"


def make(folder):
    """Writes {ca,stranger-ca}.pem, {broker,client,stranger}.pem with .key, and broker-store.pem for Kafka."""
    from .kit import need
    openssl = need("openssl", "openssl")
    folder.mkdir()
    for authority in ("ca", "stranger-ca"):
        _authority(openssl, folder, authority)
    _signed(openssl, folder, "broker", "ca", NAMES)
    _signed(openssl, folder, "client", "ca", "extendedKeyUsage=clientAuth")
    _signed(openssl, folder, "stranger", "stranger-ca", NAMES)
    parts = ("broker.key", "broker.pem", "ca.pem")
    (folder / "broker-store.pem").write_bytes(b"".join((folder / part).read_bytes() for part in parts))


def _authority(openssl, folder, name):
    _run(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650",
         "-subj", f"/CN=rig {name}", "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")


def _signed(openssl, folder, name, authority, extension):
    key, request, certificate = (folder / f"{name}.{end}" for end in ("key", "csr", "pem"))
    extensions = folder / f"{name}.ext"
    extensions.write_text(extension + "\n")
    _run(openssl, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-subj", f"/CN={name}", "-keyout", key, "-out", request)
    _run(openssl, "x509", "-req", "-in", request, "-CA", folder / f"{authority}.pem", "-CAkey",
         folder / f"{authority}.key", "-CAcreateserial", "-days", "3650", "-extfile", extensions, "-out", certificate)


def _run(openssl, *arguments):
    from .kit import run
    run([openssl, *arguments], f"openssl {arguments[0]}")
