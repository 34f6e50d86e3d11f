"""Tiny random models of many architectures, as torch's exporters write them."""

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

from architecture_sizes import DECODERS, ENCODERS, PAST, SIDE, TOKENS, VISION

EXPORTERS = {"torchscript": 17, "dynamo": 20, "dynamo-23": 23, "dynamo-cache": 20}  # opsets


def export(name: str, exporter: str, folder: Path) -> None:
    """`model.onnx`, random but seeded, in the folder."""
    import torch

    model, decodes = _build(name), name in DECODERS
    ids, ones = torch.full((1, TOKENS), 5), torch.ones(1, TOKENS, dtype=torch.long)
    inputs, names = [ids, ones], ["input_ids", "attention_mask"]
    if name in VISION:
        inputs, names = [torch.randn(1, 3, SIDE, SIDE)], ["pixel_values"]
    outputs = ["logits"]
    axes = [1, 1] if name not in VISION else []
    if exporter == "dynamo-cache":
        layers = range(model.config.num_hidden_layers)
        kept = [f"{layer}.{part}" for layer in layers for part in ("key", "value")]
        inputs[1] = torch.ones(1, PAST + TOKENS, dtype=torch.long)
        inputs += [torch.arange(PAST, PAST + TOKENS)[None]]
        inputs += [torch.randn(_past_shape(model.config)) for _ in kept]
        names += ["position_ids", *(f"past_key_values.{each}" for each in kept)]
        outputs += [f"present.{each}" for each in kept]
        axes += [1, *[2] * len(kept)]
    dynamic = [{axis: torch.export.Dim.DYNAMIC} for axis in axes]
    shapes = (*dynamic[:3], tuple(dynamic[3:])) if len(axes) > 2 else tuple(dynamic) or None
    how: dict[str, Any] = {"dynamo": True, "dynamic_shapes": shapes, "verbose": False}
    if exporter == "torchscript":
        free = {} if name in VISION else {n: {1: "tokens"} for n in names}
        how = {"dynamo": False, "dynamic_axes": free}
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _seeing(model) if name in VISION else _wrapped(model, decodes, len(axes) > 2),
            tuple(inputs),
            str(folder / "model.onnx"),
            input_names=names,
            output_names=outputs if decodes else None,
            opset_version=EXPORTERS[exporter],
            **how,
        )


def _build(name: str) -> Any:
    """The architecture with random weights, the same each time."""
    import torch
    import transformers

    kind, sizes = (DECODERS | ENCODERS | VISION)[name]
    made = getattr(transformers, kind)
    config = made.config_class(**sizes)
    config._experts_implementation = "batched_mm"  # else no exporter takes a mixture of experts
    torch.manual_seed(0)
    try:
        model = made(config)
    except ValueError:  # not every architecture has the fused attention
        config._attn_implementation = "eager"
        model = made(config)
    return model.eval().float()


def _past_shape(config: Any) -> tuple[int, int, int, int]:
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    heads = 1 if getattr(config, "multi_query", False) else heads
    whole = config.hidden_size // config.num_attention_heads
    return 1, heads, PAST, getattr(config, "head_dim", None) or whole


def _seeing(model: Any) -> Any:
    """A vision model as a function of pixels: its scores, or tokens and what it pools."""
    import torch

    class Seeing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, pixel_values):
            out = self.model(pixel_values)
            if hasattr(out, "logits"):
                return out.logits
            if hasattr(out, "image_embeds"):
                return out.image_embeds
            pooled = getattr(out, "pooler_output", None)
            tokens = out.last_hidden_state
            return tokens if pooled is None else (tokens, pooled)

    return Seeing()


def _wrapped(model: Any, decodes: bool, cached: bool) -> Any:
    """The model as a function of arrays, in the order in which `export` gives them."""
    import torch
    import transformers

    class Whole(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model  # its weights are the module's

        def forward(self, input_ids, attention_mask):
            more = {"use_cache": False} if decodes else {}
            out = self.model(input_ids, attention_mask=attention_mask, return_dict=False, **more)
            return out[0] if decodes else out

    class Cached(Whole):
        def forward(self, input_ids, attention_mask, position_ids, *past):
            cache = transformers.DynamicCache()
            for layer in range(len(past) // 2):
                cache.update(past[2 * layer], past[2 * layer + 1], layer)
            out = self.model(
                input_ids,
                attention_mask=attention_mask,
                position_ids=position_ids,
                past_key_values=cache,
                use_cache=True,
            )
            layers = out.past_key_values.layers
            return out.logits, *(part for x in layers for part in (x.keys, x.values))

    return Cached() if cached else Whole()
