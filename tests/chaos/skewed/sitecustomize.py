"""On the path of an instance whose clock is wrong: `time.time` is `SKEW` seconds ahead; other clocks are as they are."""

import os
import time

_ahead, _time = float(os.environ.get('SKEW', '0')), time.time
time.time = lambda: _time() + _ahead
