"""The chart of the docs: speed relative to pycurl multi, and memory. `python -m benchmarks.chart JSON FILE`."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

OURS = '#c0392b'
OURS_DECODED = '#e59a91'
OTHERS = '#5d7a99'
YARDSTICK = '#2c3e50'


def draw(results: Mapping[str, Any], file: Path) -> None:
    """Draw the cases `speed` and `memory` of a run into `file` (.svg or .png)."""
    import matplotlib

    matplotlib.use('Agg')
    matplotlib.rcParams.update({'svg.hashsalt': 'napixclient', 'font.family': 'DejaVu Sans', 'font.size': 10})
    from matplotlib import pyplot

    cases = results['cases']
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(13, 4.8), width_ratios=(1.1, 1), facecolor='white')
    speed_panel(left, cases['speed'])
    memory_panel(right, cases['memory'])
    for axes in (left, right):
        axes.spines[['top', 'right', 'left']].set_visible(False)
        axes.tick_params(axis='y', length=0)
        axes.xaxis.grid(True, color='#dddddd')
        axes.set_axisbelow(True)
        axes.margins(x=0.14)
    figure.tight_layout(w_pad=3)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={'Date': None} if file.suffix == '.svg' else None, dpi=150)
    pyplot.close(figure)


def speed_panel(axes: Any, case: Mapping[str, Any]) -> None:
    rows = sorted((row for row in case['rows'] if row['ratio']), key=lambda row: row['ratio'])
    values = [row['ratio'] for row in rows]
    bars = axes.barh([row['label'] for row in rows], values, color=[color(row['name']) for row in rows])
    axes.bar_label(bars, [f'{value:.2f}' if value >= 0.1 else f'{value:.3f}' for value in values], padding=4)
    axes.axvline(1, color=YARDSTICK, linewidth=1, linestyle='--')
    axes.set_title('Speed (more is better)', loc='left', fontweight='bold')
    axes.set_xlabel('requests per second on one core, relative to pycurl multi')


def memory_panel(axes: Any, case: Mapping[str, Any]) -> None:
    bars = []
    for row in case['rows']:
        if 'rss_handed_out_mb' in row:
            bars.append((row['rss_handed_out_mb'], f'{row["label"]}, as handed out', OURS))
            bars.append((row['rss_mb'], f'{row["label"]}, all decoded', OURS_DECODED))
        else:
            bars.append((row['rss_mb'], row['label'], color(row['name'])))
    bars.sort(reverse=True)
    drawn = axes.barh([label for _, label, _ in bars], [value for value, _, _ in bars], color=[c for _, _, c in bars])
    axes.bar_label(drawn, [f'{value:,.0f}' for value, _, _ in bars], padding=4)
    axes.set_title('Memory (less is better)', loc='left', fontweight='bold')
    axes.set_xlabel(
        f'peak RSS in MB, {case["requests"]:,} answers held\n(too slow to measure: urllib3, grequests, httpx)'
    )


def color(name: str) -> str:
    return {'napixclient': OURS, 'pycurl': YARDSTICK}.get(name, OTHERS)


if __name__ == '__main__':
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
