"""The page of a run: results, figures, examples, training curves, settings and environment."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from d2road.evaluation.plot_data import BEST, WORST, Example
from d2road.report.example_drawing import as_jpeg, draw_example
from d2road.report.html_elements import Markup, element, embedded_image, joined, table
from d2road.report.page_layout import Section, figures_of, page_of_sections
from d2road.report.run_summary import RunSummary, results_by_data_set
from d2road.utils.errors import D2RoadError
from d2road.visualization.training_figures import training_figures

OPEN_ROWS = 16  # of a table of results; what is far longer is folded behind them
GROUPS = {WORST: "Worst images", BEST: "Best images"}
LEGEND_BOXES = "Labels are dashed, predictions solid with their scores."
LEGEND_HEAT = (
    "The image with the outline of the labelled region, and the anomaly map over it: a red line surrounds what lies "
    "above the threshold."
)


def run_page(run: RunSummary, images: int = 6) -> str:
    """The HTML of a run.

    Args:
        images: examples drawn of the worst and of the best, at most; 0 draws none, and needs no data.
    """
    name = run.path.resolve().name
    sections: list[Section] = [
        ("results", "Results", _results(run)),
        *_evaluations(run, images),
        ("training", "Training", _training(run)),
        ("settings", "Settings", _settings(run)),
        ("environment", "Environment", [element("pre", run.environment)] if run.environment else []),
        ("notes", "What could not be read", [element("p", note, class_="note") for note in run.notes]),
    ]
    return page_of_sections(f"Report of {name}", name, _facts(run), sections)


def _facts(run: RunSummary) -> list[tuple[str, str]]:
    config = run.config
    facts = [("state", run.state()), ("model", config.get("MODEL.META_ARCHITECTURE", ""))]
    facts += [("started", run.record.get("started", "")), ("seed", config.get("SEED", ""))]
    facts.append(("training data", ", ".join(map(str, config.get("DATASETS.TRAIN") or ()))))
    facts.append(("test data", ", ".join(run.test_sets)))
    data = run.record.get("data") or {}
    if isinstance(data, Mapping) and data.get("images"):
        facts.append(("training images", f"{data['images']}, {data.get('annotations', '?')} annotations"))
    facts.append(("weights at the start", config.get("MODEL.WEIGHTS") or "none"))
    return [(label, str(value)) for label, value in facts if value != ""]


def _results(run: RunSummary) -> list[Markup]:
    found = results_by_data_set(run.results, run.test_sets)
    if not any(found.values()):
        return [element("p", "No evaluation has finished: there is no results.json.", class_="note")]
    content: list[Markup] = []
    for data_set, tasks in found.items():
        if data_set:
            content.append(element("h3", data_set))
        for task, row in tasks.items():
            rows = [(name, _number(value)) for name, value in row.items()]
            first = len(rows) if len(rows) <= OPEN_ROWS + OPEN_ROWS // 2 else OPEN_ROWS
            content.append(_in_columns(task, rows[:first]))
            if rows[first:]:
                summary = element("summary", f"{len(rows) - first} more metrics of {task}")
                content.append(element("details", summary, _in_columns("", rows[first:])))
    return content


def _in_columns(task: str, rows: Sequence[tuple[str, str]]) -> Markup:
    """Two tables side by side, where there is much."""
    half = -(-len(rows) // 2) if len(rows) > 8 else len(rows)
    head = (task, "") if task else ()
    parts = [table(head, part, "numbers") for part in (rows[:half], rows[half:]) if part]
    return element("div", *parts, class_="columns")


def _number(value: Any) -> str:
    """A result as text: null is a metric that could not be computed."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if math.isfinite(value) and abs(value) >= 1:
        return f"{value:.2f}"
    return f"{value:.4g}"


def _evaluations(run: RunSummary, images: int) -> Iterator[Section]:
    """Figures and examples of each data set."""
    data_sets = list(dict.fromkeys(data_set for data_set, _, _ in run.evaluations))
    if run.results and not data_sets:
        text = "There is no plot data: the evaluation was made with TEST.PLOTS False or by an earlier version. "
        text += "`d2road eval` on the same weights writes it."
        yield "evaluation", "Evaluation", [element("p", text, class_="note")]
    for number, data_set in enumerate(data_sets, 1):
        mine = [(name, data) for other, name, data in run.evaluations if other == data_set]
        figures = [(f"{name}: {key}", figure) for name, data in mine for key, figure in data.figures.items()]
        content = [figures_of(figures)] if figures else []
        for group, heading in GROUPS.items() if images else ():
            chosen = [e for _, data in mine for e in [e for e in data.examples if e.group == group][:images]]
            content += _examples(heading, chosen)
        yield f"evaluation-{number}", f"Evaluation on {data_set}" if data_set else "Evaluation", content


def _examples(heading: str, examples: Sequence[Example]) -> list[Markup]:
    drawn, failed = [], []
    for example in examples:
        try:
            image = embedded_image(as_jpeg(draw_example(example)), "jpeg", example.caption)
        except (D2RoadError, OSError, ValueError) as error:
            failed.append(str(error))
            continue
        file = example.image.replace("\\", "/").rpartition("/")[2]
        drawn.append(element("figure", image, element("figcaption", f"{example.caption} ({file})")))
    content: list[Markup] = []
    if drawn:
        legends = [LEGEND_HEAT] * any(e.heat for e in examples) + [LEGEND_BOXES] * any(e.found for e in examples)
        content = [element("h3", heading), element("p", " ".join(legends)), element("div", *drawn, class_="figures")]
    if failed:
        text = f"{heading}: {len(failed)} of {len(examples)} could not be drawn, such as: {failed[0]}"
        content.append(element("p", text, class_="note"))
    return content


def _training(run: RunSummary) -> list[Markup]:
    names = [
        f"{prefix}{task}/{metric}"
        for data_set, tasks in results_by_data_set(run.results, ()).items()
        for prefix in [f"{data_set}/" if data_set else ""]
        for task, row in tasks.items()
        for metric in row
    ]
    figures = training_figures(run.metrics, names)
    return [figures_of([(f"training: {key}", figure) for key, figure in figures.items()])] if figures else []


def _settings(run: RunSummary) -> list[Markup]:
    if not run.config_text:
        return []
    rows = [(key, _setting(value), _setting(default)) for key, value, default in run.changed]
    changed = table(("key", "value", "default"), rows)
    whole = element("details", element("summary", "All settings"), element("pre", run.config_text))
    content = [element("p", f"{len(rows)} settings differ from their defaults."), changed, whole]
    if run.of_evaluation:
        rows = [(key, _setting(value), _setting(trained)) for key, value, trained in run.of_evaluation]
        own = table(("key", "value", "in the training"), rows)
        text = f"The results are of a later evaluation, with {len(rows)} settings other than those of the training:"
        content = [element("p", text), own, element("h3", "Training"), *content]
    return content


def _setting(value: Any) -> Markup:
    text = value if isinstance(value, str) and value else repr(value)
    return joined([text])
