"""Why Temporal, or a proxy before it, refuses this service, in words that name a setting.

The SDK describes a failed connection by a text only, in the words of tonic, hyper and rustls. A
refusal is not an outage: it stays until somebody changes a setting.
"""

import re

from temporalio.service import RPCError, RPCStatusCode

CREDENTIALS = "refuses the service's credentials (TEMPORAL_API_KEY, or its client certificate)"

BAD_CREDENTIALS = {RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED}

CERTIFICATE = "(TEMPORAL_TLS_CLIENT_CERT_PATH)"

ALERT = r"(alert: |AlertReceived\()"
"""What the other side says in the handshake: https://www.rfc-editor.org/rfc/rfc8446#section-6"""

REASONS = {
    # A proxy that does not know gRPC answers with a status of HTTP.
    r"\bcode: (PermissionDenied|Unauthenticated)\b|response with status: 40[13]\b": CREDENTIALS,
    r"response with status: 400\b": (
        "answers 400 Bad Request, as a proxy does that wants a valid client certificate "
        f"{CERTIFICATE}"
    ),
    r"CertificateRequired": f"wants a client certificate {CERTIFICATE}",
    ALERT + "HandshakeFailure": (
        f"breaks off the handshake: does it want a client certificate {CERTIFICATE}?"
    ),
    ALERT + "CertificateExpired": f"says that the client certificate has expired {CERTIFICATE}",
    ALERT + "UnrecognisedName": "knows no such name (TEMPORAL_TLS_SERVER_NAME, TEMPORAL_ADDRESS)",
    ALERT + "NoApplicationProtocol": "does not speak gRPC over TLS there (TEMPORAL_ADDRESS)",
    ALERT + "(UnknownCA|AccessDenied|DecryptError|[A-Za-z]*Certificate)": (
        f"does not accept the client certificate {CERTIFICATE}"
    ),
    # What we find wrong with the other side's certificate.
    r"InvalidCertificate\(Expired": "has a certificate that has expired",
    r"InvalidCertificate\(NotValidForName": (
        "has a certificate for another name (TEMPORAL_TLS_SERVER_NAME)"
    ),
    r"InvalidCertificate\(": (
        "has a certificate that is not trusted (TEMPORAL_TLS_SERVER_CA_CERT_PATH)"
    ),
    r"InvalidContentType": "does not speak TLS (TEMPORAL_TLS)",
    r"FRAME_SIZE_ERROR": "does not speak gRPC in the clear: does it want TLS (TEMPORAL_TLS)?",
    r"InconsistentKeys|PrivateKeyParseError|CertificateParseError": (
        "cannot be asked with this client certificate and key "
        "(TEMPORAL_TLS_CLIENT_CERT_PATH, TEMPORAL_TLS_CLIENT_KEY_PATH)"
    ),
}
"""A pattern of such a text, and what it means, as the end of a sentence about Temporal."""


def refusal(text: str) -> str | None:
    """Return why Temporal refuses, by the text of an error; `None`: it is out of reach."""
    return next((reason for found, reason in REASONS.items() if re.search(found, text)), None)


def refusal_of(error: RPCError | RuntimeError) -> str | None:
    """Return why Temporal refuses, by the status or the text of an error."""
    # A proxy before Temporal may not know gRPC and its statuses.
    if isinstance(error, RPCError) and error.status in BAD_CREDENTIALS:
        return CREDENTIALS
    return refusal(str(error))
