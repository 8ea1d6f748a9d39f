//! Which configurations are refused, and how.

use super::*;

/// SDXL base's `unet/config.json`.
fn published() -> Value {
    serde_json::from_str(include_str!("../../tests/fixtures/published/unet.json")).unwrap()
}

fn parsed(changes: Value) -> std::result::Result<UNetConfig, String> {
    let mut values = published();
    if let (Value::Object(values), Value::Object(changes)) = (&mut values, changes) {
        values.extend(changes);
    }
    serde_json::from_value(values).map_err(|error| error.to_string())
}

/// SDXL base's configuration.
pub(in crate::unet) fn sdxl_like() -> UNetConfig {
    parsed(json!({})).unwrap()
}

#[test]
fn sdxl_base() {
    let config = sdxl_like();
    assert_eq!(config.attention_heads, [5, 10, 20]);
    assert_eq!(config.layers_per_block, [2, 2, 2]);
    assert_eq!(config.transformer_layers_per_block, [1, 2, 10]);
    assert_eq!(config.down_blocks, [BlockKind::Plain, BlockKind::CrossAttention, BlockKind::CrossAttention]);
    assert_eq!(config.text_time, Some(TextTimeConfig { time_embed_dim: 256, input_dim: 2816 }));
    assert_eq!((config.last_channels(), config.time_channels()), (1280, 1280));
}

#[test]
fn other_published_forms() {
    assert_eq!(parsed(json!({"attention_head_dim": 20})).unwrap().attention_heads, [20, 20, 20]);
    assert_eq!(parsed(json!({"num_attention_heads": 10})).unwrap().attention_heads, [10, 10, 10]);
    assert_eq!(parsed(json!({"layers_per_block": [1, 2, 3]})).unwrap().layers_per_block, [1, 2, 3]);
    assert_eq!(parsed(json!({"addition_embed_type": null})).unwrap().text_time, None);
    assert!(!parsed(json!({"use_linear_projection": null})).unwrap().use_linear_projection);
    // What later versions add and this network does not use.
    parsed(json!({"new_feature": null, "other_feature": false, "_note": "anything"})).unwrap();
}

#[test]
fn refusals_name_key_and_value() {
    for (changes, named) in [
        (json!({"act_fn": "gelu"}), "act_fn: \"gelu\""),
        (json!({"addition_embed_type": "image"}), "addition_embed_type: \"image\""),
        (json!({"attention_type": "gated"}), "attention_type: \"gated\""),
        (json!({"center_input_sample": true}), "center_input_sample: true"),
        (json!({"class_embed_type": "timestep"}), "class_embed_type: \"timestep\""),
        (json!({"conv_in_kernel": 5}), "conv_in_kernel: 5"),
        (json!({"cross_attention_dim": [2048, 2048, 2048]}), "cross_attention_dim"),
        (json!({"cross_attention_norm": "layer_norm"}), "cross_attention_norm: \"layer_norm\""),
        (json!({"down_block_types": ["DownBlock2D"]}), "down_block_types: 1 entries"),
        (json!({"down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D"]}), "down_block_types: \"AttnDownBlock2D\""),
        (json!({"up_block_types": "UpBlock2D"}), "up_block_types: \"UpBlock2D\""),
        (json!({"downsample_padding": 0}), "downsample_padding: 0"),
        (json!({"dual_cross_attention": true}), "dual_cross_attention: true"),
        (json!({"encoder_hid_dim": 1024}), "encoder_hid_dim: 1024"),
        (json!({"mid_block_scale_factor": 2}), "mid_block_scale_factor: 2"),
        (json!({"mid_block_type": "UNetMidBlock2D"}), "mid_block_type: \"UNetMidBlock2D\""),
        (json!({"mid_block_type": null}), "mid_block_type: null"),
        (json!({"only_cross_attention": [true, true, true]}), "only_cross_attention: [true,true,true]"),
        (json!({"resnet_time_scale_shift": "scale_shift"}), "resnet_time_scale_shift: \"scale_shift\""),
        (json!({"time_cond_proj_dim": 256}), "time_cond_proj_dim: 256"),
        (json!({"time_embedding_type": "fourier"}), "time_embedding_type: \"fourier\""),
        (json!({"transformer_layers_per_block": [[1], [2], [10]]}), "transformer_layers_per_block: [1]"),
        (json!({"a_new_feature": "on"}), "a_new_feature: \"on\""),
        (json!({"addition_time_embed_dim": null}), "addition_time_embed_dim: missing"),
    ] {
        let error = parsed(changes).unwrap_err();
        assert!(error.starts_with("unet: config.json: ") && error.contains(named), "{error}");
    }
}

#[test]
fn numbers_that_cannot_be() {
    for (changes, named) in [
        (json!({"block_out_channels": []}), "block_out_channels"),
        (json!({"block_out_channels": 320}), "block_out_channels"),
        (json!({"block_out_channels": [320, 640, 0]}), "block_out_channels: 0"),
        (json!({"block_out_channels": vec![32; 1000]}), "block_out_channels"),
        (json!({"block_out_channels": [320, 640, u64::MAX]}), "block_out_channels"),
        (json!({"block_out_channels": [320, 640, 1296]}), "norm_num_groups"),
        (json!({"norm_num_groups": 0}), "norm_num_groups: 0"),
        (json!({"norm_num_groups": 7}), "norm_num_groups: 7"),
        (json!({"norm_eps": -1}), "norm_eps: -1"),
        (json!({"attention_head_dim": [5, 10]}), "attention_head_dim: 2 entries"),
        (json!({"attention_head_dim": [5, 10, 21]}), "attention_head_dim: 21 heads"),
        (json!({"attention_head_dim": 0}), "attention_head_dim: 0"),
        (json!({"layers_per_block": 0}), "layers_per_block: 0"),
        (json!({"layers_per_block": 100_000_000}), "layers_per_block: 100000000"),
        (json!({"transformer_layers_per_block": 1e9}), "transformer_layers_per_block"),
        (json!({"in_channels": -4}), "in_channels: -4"),
        (json!({"in_channels": 4.5}), "in_channels: 4.5"),
        (json!({"cross_attention_dim": 1_000_000_000_u64}), "cross_attention_dim"),
        (json!({"freq_shift": 128}), "freq_shift: 128"),
        (json!({"addition_time_embed_dim": 1}), "addition_time_embed_dim: 1"),
        (json!({"use_linear_projection": "yes"}), "use_linear_projection: \"yes\""),
    ] {
        let error = parsed(changes).unwrap_err();
        assert!(error.contains(named), "{error}");
    }
}
