#!/usr/bin/env bash
# 2026-11-30. Versions: msgpack 1.2.4, CPython 3.11.
# MessagePack: a stream that is cut in the middle of a message ends like a whole one.
#
# One would guess that iterating over msgpack.Unpacker(file) raises when the file ends inside a message,
# as unpackb does with the same bytes ("Unpack failed: incomplete input").
# What happens: the loop ends as if all had been read; the message that was cut is left out, without a word.
# unpack() on the same Unpacker raises OutOfData both at a clean end and at a cut one, so that it does not tell
# them apart either. What does: tell(), the offset behind the last whole message, against the bytes that came.
#
# Source: docstring of msgpack.unpackb ("Raises ValueError when packed is incomplete"); README of msgpack-python,
# "Streaming unpacking", shows the loop and does not speak of a stream that is cut.
# Seen:
#   sent 3 messages, 21 bytes; 20 bytes came
#   unpackb of the last one: ValueError: Unpack failed: incomplete input
#   for message in Unpacker(file): [{'host': 0}, {'host': 1}], no error
#   unpack() at a cut end: OutOfData; at a clean end: OutOfData
#   tell() at the cut end: 20 of 20; noted behind the last message: 14

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check 'msgpack==1.2.4'

timeout 50 "$folder/venv/bin/python" - <<'PY'
import io
import sys

import msgpack

def check(holds, what):
    if not holds:
        sys.exit(f'CHANGED: {what}')


messages = [msgpack.packb({'host': number}) for number in range(3)]
whole = b''.join(messages)
cut = whole[:-1]
print(f'sent 3 messages, {len(whole)} bytes; {len(cut)} bytes came')

try:
    msgpack.unpackb(messages[-1][:-1])
except ValueError as error:
    print(f'unpackb of the last one: {type(error).__name__}: {error}')
else:
    check(False, 'unpackb takes an incomplete message')

read = list(msgpack.Unpacker(io.BytesIO(cut)))
print(f'for message in Unpacker(file): {read}, no error')
check(read == [{'host': 0}, {'host': 1}], 'iterating over a cut stream')


def read_through(data):
    """What unpack() raises at the end, where that is, and where the last message ended."""
    unpacker = msgpack.Unpacker(io.BytesIO(data))
    behind = 0
    try:
        for _ in range(10):
            unpacker.unpack()
            behind = unpacker.tell()
    except Exception as error:
        return type(error).__name__, unpacker.tell(), behind


at_cut, told, behind = read_through(cut)
at_clean, _, behind_clean = read_through(whole)
print(f'unpack() at a cut end: {at_cut}; at a clean end: {at_clean}')
print(f'tell() at the cut end: {told} of {len(cut)}; noted behind the last message: {behind}')
check(at_cut == at_clean == 'OutOfData', 'unpack() tells a cut end from a clean one')
check(told == len(cut), 'tell() after the end')
check(behind == 14 and behind_clean == len(whole), 'tell() behind each message')
PY
