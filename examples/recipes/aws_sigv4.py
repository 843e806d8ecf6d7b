"""Signatures of Amazon Web Services (SigV4), by botocore: pip install botocore."""

from __future__ import annotations

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from napixclient import Request


class AWS:
    """Has botocore sign each attempt. It may block, as botocore renews credentials where they are temporary.

    :param credentials: such as ``botocore.session.get_session().get_credentials()``.
    """

    def __init__(self, credentials: Credentials, service: str, region: str) -> None:
        self.signer = SigV4Auth(credentials, service, region)

    def __call__(self, request: Request) -> Request:
        """Return the request signed: method, target, host, its own fields, and a body that is in memory."""
        signed = AWSRequest(request.method, request.full_url, dict(request.headers), request.payload)
        self.signer.add_auth(signed)
        return request.replace(headers=dict(signed.headers.items()))
