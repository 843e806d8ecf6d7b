"""The recipes in `examples/recipes/`, where what they use is installed."""

from __future__ import annotations

import hashlib
import hmac
import re
import runpy
from typing import Any

import pytest

from napixclient import ClientPool
from tests import kit
from tests.kit import serve

pytestmark = pytest.mark.usefixtures('tidy')


def is_signed(method: str, path: str, headers: Any, body: bytes, secret: str) -> bool:
    """Whether a request has the signature that AWS documents ("Signature Version 4")."""
    told = dict(re.findall(r'(\w+)=([^, ]+)', headers['authorization']))
    scope = told['Credential'].partition('/')[2]
    target, _, query = path.partition('?')
    names = told['SignedHeaders'].split(';')
    fields = ''.join(f'{name}:{headers[name]}\n' for name in names)
    parts = [method, target, query, fields, told['SignedHeaders'], hashlib.sha256(body).hexdigest()]
    hashed = hashlib.sha256('\n'.join(parts).encode()).hexdigest()
    key = f'AWS4{secret}'.encode()
    for part in [*scope.split('/'), '\n'.join(['AWS4-HMAC-SHA256', headers['x-amz-date'], scope, hashed])]:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex() == told['Signature'] and 'host' in names


def test_aws() -> None:
    """What botocore signs is what arrives, with its query, its fields and its body."""
    credentials = pytest.importorskip('botocore.credentials').Credentials('AKIDEXAMPLE', 'wJalrXUtnFEMI')
    aws = runpy.run_path(str(kit.ROOT / 'examples' / 'recipes' / 'aws_sigv4.py'))['AWS']
    seen: list[bool] = []

    def handler(method: str, path: str, headers: Any, body: bytes) -> tuple[int, Any, Any]:
        seen.append(is_signed(method, path, headers, body, 'wJalrXUtnFEMI'))
        return 200, {}, None

    with serve(handler) as server, ClientPool(aws(credentials, 'execute-api', 'eu-west-1')) as pool:
        pool.request(server.host, 'GET', '/a/b?c=d&e=f')
        pool.request(server.host, 'POST', '/', {'a': 1}, headers={'X-A': 'b', 'Content-Type': 'application/json'})
        pool.request(server.host, 'PUT', '/x', b'\0\1')
        assert [outcome.status for outcome in pool.wait()] == [200] * 3
    assert seen == [True] * 3
