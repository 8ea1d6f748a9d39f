//! The generator against torch's.

#[expect(dead_code, reason = "devices and checkpoints are not needed here")]
mod support;

use framewright_engine::noise::Generator;

#[test]
fn every_draw_is_torchs() {
    let arrays = support::arrays("noise/noise.safetensors");
    let mut compared = 0;
    for case in support::json("noise/noise.json")["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let mut generator = Generator::new(case["seed"].as_str().unwrap().parse().unwrap());
        for draw in 0..case["shapes"].as_array().unwrap().len() {
            let expected = &arrays[&format!("{name}.{draw}")];
            let actual = generator.normal(expected.values.len());
            for (index, (actual, expected)) in actual.iter().zip(&expected.values).enumerate() {
                // torch evaluates logarithm, sine and cosine in f32; the generator in f64.
                assert!((actual - expected).abs() <= 5e-7, "{name}.{draw}[{index}]: {actual} for {expected}");
            }
            compared += 1;
        }
    }
    assert_eq!(compared, arrays.len());
}

#[test]
fn latents_are_drawn_in_torchs_order() {
    let expected = &support::arrays("noise/noise.safetensors")["latent.0"];
    let [1, channels, height, width] = expected.shape[..] else { panic!("{:?}", expected.shape) };
    let latent = Generator::new(42).latent(1, height, width, channels);
    support::assert_close("latent", &latent.to_channels_first(), &expected.values, 1e-6);
}
