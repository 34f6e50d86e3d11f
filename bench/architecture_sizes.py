"""Architectures by name: the class in transformers, and what makes its default sizes small."""

from typing import Any

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
    "MobileBERT": ("MobileBertModel", _PLAIN | {"embedding_size": 64, "intra_bottleneck_size": 64}),
    "DeBERTa-v2": (
        "DebertaV2Model",
        _PLAIN | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    ),
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
