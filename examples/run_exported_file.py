"""An exported model without torch: python examples/run_exported_file.py MODEL.onnx IMAGE ...

MODEL.onnx is what `d2road export` wrote of a detector or a model of anomalies; numpy, onnxruntime and Pillow do.
"""

import sys

from d2road.runtime import Runtime


def main(model: str, *images: str, confidence: float = 0.5) -> list[dict]:
    """Print what is found in each image; returns it."""
    runtime = Runtime(model)
    found = runtime(list(images))
    for image, one in zip(images, found):
        if "anomaly_score" in one:
            verdict = "anomalous" if one["is_anomalous"] else "good"
            print(f"{image}: {one['anomaly_score']:.2f}, threshold {one['anomaly_threshold']:.2f}: {verdict}")
        else:
            named = zip(one.get("names", one["classes"]), one["scores"])
            print(f"{image}: {', '.join(f'{name} {score:.2f}' for name, score in named if score >= confidence)}")
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
