"""Tiny random models of many architectures, as torch's exporters write them."""

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

EXPORTERS = {"torchscript": 17, "dynamo": 20, "dynamo-23": 23, "dynamo-cache": 20}  # opsets
TOKENS, PAST, VOCABULARY = 9, 5, 256
SIDE = 32  # pixels of an image

_PLAIN = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
_GROUPED = _PLAIN | {"num_key_value_heads": 2}
_WIDE = _GROUPED | {"head_dim": 16}
_GPT2 = {"vocab_size": VOCABULARY, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128}
_EXPERTS = {"num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 32}
_ROUTED = {
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
    "n_group": 4,
    "topk_group": 2,
}
_LATENT = {
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
}
_NEO = {"vocab_size": VOCABULARY, "hidden_size": 64, "num_layers": 2, "num_heads": 4}
_WINDOW = {"sliding_window": 16}
_T5 = {
    "vocab_size": VOCABULARY,
    "d_model": 64,
    "d_kv": 16,
    "d_ff": 128,
    "num_layers": 2,
    "num_heads": 4,
}
_IMAGES = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "image_size": SIDE,
    "patch_size": 8,
}
_LONG = _PLAIN | {"max_position_embeddings": 130}  # RoBERTa counts from 2 on
# Names as transformers has them, and what makes its default sizes small.
DECODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("LlamaForCausalLM", _GROUPED),
    "Mistral, window": ("MistralForCausalLM", _GROUPED | {"sliding_window": 16}),
    "Qwen2": ("Qwen2ForCausalLM", _GROUPED),
    "Qwen3": ("Qwen3ForCausalLM", _WIDE),
    "Gemma": ("GemmaForCausalLM", _WIDE),
    "Gemma2": ("Gemma2ForCausalLM", _WIDE | {"sliding_window": 16, "query_pre_attn_scalar": 16}),
    "Gemma3": ("Gemma3ForCausalLM", _WIDE | {"sliding_window": 16}),
    "Phi": ("PhiForCausalLM", _PLAIN | {"partial_rotary_factor": 0.5}),
    "Phi3": ("Phi3ForCausalLM", _GROUPED),
    "GPT-2": ("GPT2LMHeadModel", _GPT2),
    "GPT-NeoX": ("GPTNeoXForCausalLM", _PLAIN | {"rotary_pct": 0.25}),
    "GPT-J": ("GPTJForCausalLM", _GPT2 | {"rotary_dim": 8}),
    "GPT-BigCode": ("GPTBigCodeForCausalLM", _GPT2),
    "OPT": ("OPTForCausalLM", _PLAIN | {"ffn_dim": 128, "word_embed_proj_dim": 64}),
    "BLOOM": ("BloomForCausalLM", _PLAIN | {"n_head": 4, "n_layer": 2}),
    "MPT": ("MptForCausalLM", _PLAIN | {"d_model": 64, "n_layers": 2, "n_heads": 4}),
    "Falcon": ("FalconForCausalLM", _PLAIN | {"multi_query": True}),
    "StableLM": ("StableLmForCausalLM", _GROUPED | {"partial_rotary_factor": 0.25}),
    "OLMo2": ("Olmo2ForCausalLM", _GROUPED),
    "OLMo3": ("Olmo3ForCausalLM", _GROUPED | _WINDOW),
    "Cohere2": ("Cohere2ForCausalLM", _GROUPED | _WINDOW),
    "EXAONE4": ("Exaone4ForCausalLM", _GROUPED | _WINDOW),
    "SmolLM3": ("SmolLM3ForCausalLM", _GROUPED),
    "Apertus": ("ApertusForCausalLM", _GROUPED),
    "Arcee": ("ArceeForCausalLM", _GROUPED),
    "Seed-OSS": ("SeedOssForCausalLM", _WIDE),
    "ERNIE 4.5": ("Ernie4_5ForCausalLM", _GROUPED),
    "BitNet": ("BitNetForCausalLM", _GROUPED),
    "DiffLlama": ("DiffLlamaForCausalLM", _GROUPED),
    "Persimmon": ("PersimmonForCausalLM", _PLAIN),
    "CodeGen": ("CodeGenForCausalLM", _GPT2 | {"rotary_dim": 8}),
    "GPT-Neo": (
        "GPTNeoForCausalLM",
        _NEO | {"attention_types": [[["global", "local"], 1]], "window_size": 16},
    ),
    "XGLM": (
        "XGLMForCausalLM",
        {"vocab_size": 256, "d_model": 64, "num_layers": 2, "attention_heads": 4, "ffn_dim": 128},
    ),
    "BioGPT": ("BioGptForCausalLM", _PLAIN),
    "OPT, norm behind": (
        "OPTForCausalLM",
        _PLAIN | {"ffn_dim": 128, "word_embed_proj_dim": 32, "do_layer_norm_before": False},
    ),
    "Falcon, new": (
        "FalconForCausalLM",
        _PLAIN | {"new_decoder_architecture": True, "num_kv_heads": 2},
    ),
    "Cohere": ("CohereForCausalLM", _GROUPED),
    "Granite": ("GraniteForCausalLM", _GROUPED | {"attention_multiplier": 0.25}),
    "StarCoder2": ("Starcoder2ForCausalLM", _GROUPED),
    "Nemotron": ("NemotronForCausalLM", _GROUPED),
    "GLM": ("GlmForCausalLM", _WIDE),
    "GLM-4": ("Glm4ForCausalLM", _WIDE),
    "Helium": ("HeliumForCausalLM", _WIDE),
    "Mixtral": ("MixtralForCausalLM", _GROUPED | {"num_local_experts": 4}),
    "Qwen2-MoE": (
        "Qwen2MoeForCausalLM",
        _GROUPED | _EXPERTS | {"shared_expert_intermediate_size": 64},
    ),
    "Qwen3-MoE": ("Qwen3MoeForCausalLM", _WIDE | _EXPERTS | {"norm_topk_prob": True}),
    "OLMoE": ("OlmoeForCausalLM", _GROUPED | {"num_experts": 8, "num_experts_per_tok": 2}),
    "FlexOLMo": ("FlexOlmoForCausalLM", _GROUPED | {"num_experts": 4, "num_experts_per_tok": 2}),
    "Granite-MoE": (
        "GraniteMoeForCausalLM",
        _GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "ERNIE 4.5-MoE": (
        "Ernie4_5_MoeForCausalLM",
        _GROUPED | {"moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 32},
    ),
    "Hunyuan-MoE": ("HunYuanMoEV1ForCausalLM", _WIDE | {"num_experts": 4, "moe_topk": 2}),
    "GLM4-MoE": ("Glm4MoeForCausalLM", _WIDE | _ROUTED),
    "PhiMoE": ("PhimoeForCausalLM", _GROUPED | {"num_local_experts": 4}),
    "DeepSeek-V3": (
        "DeepseekV3ForCausalLM",
        _PLAIN | _ROUTED | _LATENT | {"num_key_value_heads": 4},
    ),
    "GPT-OSS": (
        "GptOssForCausalLM",
        _WIDE | {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 16},
    ),
}
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "BERT": ("BertModel", _PLAIN),
    "BERT, answers": ("BertForQuestionAnswering", _PLAIN),
    "RoBERTa": ("RobertaModel", _LONG | {"pad_token_id": 1}),
    "DistilBERT": ("DistilBertModel", _PLAIN | {"dim": 64, "n_layers": 2, "hidden_dim": 128}),
    "ALBERT": ("AlbertModel", _PLAIN | {"embedding_size": 32}),
    "ELECTRA": ("ElectraModel", _PLAIN | {"embedding_size": 32}),
    "XLM-RoBERTa": ("XLMRobertaModel", _LONG | {"pad_token_id": 1}),
    "ModernBERT": (
        "ModernBertModel",
        _PLAIN | {"local_attention": 16, "global_attn_every_n_layers": 2},
    ),
    "NomicBERT": ("NomicBertModel", _PLAIN),
    "RoFormer": ("RoFormerModel", _PLAIN | {"embedding_size": 64}),
    "LayoutLM": ("LayoutLMModel", _PLAIN),
    "ESM": (
        "EsmModel",
        _LONG | {"pad_token_id": 1, "mask_token_id": 3, "position_embedding_type": "rotary"},
    ),
    "MPNet": ("MPNetModel", _LONG | {"pad_token_id": 1}),
    "CLIP, texts": ("CLIPTextModel", _PLAIN | {"projection_dim": 32}),
    "SqueezeBERT": ("SqueezeBertModel", _PLAIN | {"embedding_size": 64}),
    "T5, encoder": ("T5EncoderModel", _T5),
    "UMT5, encoder": ("UMT5EncoderModel", _T5),
}
VISION: dict[str, tuple[str, dict[str, Any]]] = {
    "ViT": ("ViTForImageClassification", _IMAGES | {"num_labels": 10}),
    "DeiT": ("DeiTModel", _IMAGES),
    "BEiT": ("BeitForImageClassification", _IMAGES | {"num_labels": 10}),
    "DINOv2": ("Dinov2ForImageClassification", _IMAGES | {"mlp_ratio": 2, "num_labels": 10}),
    "DINOv2, registers": ("Dinov2WithRegistersModel", _IMAGES | {"mlp_ratio": 2}),
    "CLIP, images": ("CLIPVisionModelWithProjection", _IMAGES | {"projection_dim": 32}),
    "SigLIP, images": ("SiglipVisionModel", _IMAGES),
    "I-JEPA": ("IJepaModel", _IMAGES),
    "YOLOS": ("YolosModel", _IMAGES | {"image_size": [SIDE, SIDE], "num_detection_tokens": 5}),
}


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
