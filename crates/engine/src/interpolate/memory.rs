//! What interpolating takes.

use super::block::{FRAME, STATE};
use super::config::InterpolatorConfig;
use crate::ops::{DeviceFacts, Footprint};

/// Of one frame between two of `pixels`, padding included.
pub(super) fn footprint(config: &InterpolatorConfig, pixels: usize, facts: DeviceFacts) -> Footprint {
    let pixels = pixels as u64;
    // Two frames as floats before they are uploaded, one after it is downloaded, and all three as bytes.
    let host_bytes = pixels * 3 * (2 * 4 + 3);
    let live_bytes = pixels * live_bytes(config, facts);
    Footprint { weights_bytes: weights_bytes(config, facts), activations_bytes: facts.held_bytes(live_bytes) + host_bytes }
}

/// Per pixel, bytes in use at once.
fn live_bytes(config: &InterpolatorConfig, facts: DeviceFacts) -> u64 {
    let (frame, state) = (FRAME as u64, STATE as u64);
    let (stream, operand) = (facts.stream_bytes(), facts.operand_bytes());
    // The finest block, before its first convolution: both frames, both warped, the state, all of them and the time side by side. Of its
    // widths only the first counts, at a quarter of the positions.
    let gathered = 2 * frame + state + 1;
    let half = config.channels[config.channels.len() - 1] as u64 / 2;
    let gathering = (4 * frame + state + 1) * stream + gathered * stream;
    let first = (4 * frame + state) * stream + gathered * (stream + facts.converted_stream_bytes()) + half.div_ceil(4) * operand;
    gathering.max(first)
}

fn weights_bytes(config: &InterpolatorConfig, facts: DeviceFacts) -> u64 {
    let convolution = |inputs: usize, outputs: usize, taps: u64| {
        facts.packed_outputs(outputs as u64) * inputs.next_multiple_of(2) as u64 * taps
    };
    let block = |(index, &channels): (usize, &usize)| {
        let inputs = if index == 0 { 2 * FRAME + 1 } else { 2 * FRAME + STATE + 1 };
        convolution(inputs, channels / 2, 9)
            + convolution(channels / 2, channels, 9)
            + 8 * convolution(channels, channels, 9)
            + 4 * convolution(channels, 4 * STATE, 4)
    };
    let head = convolution(3, 16, 9) + 2 * convolution(16, 16, 9) + 4 * convolution(16, 4, 4);
    (config.channels.iter().enumerate().map(block).sum::<u64>() + head) * facts.weight_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interpolate::Interpolator;
    use crate::ops::{Interrupt, Ops, Precision};
    use crate::vision::RgbPicture;
    use crate::weights::{RandomWeights, Scope};

    #[test]
    fn what_is_in_use_at_once_is_what_is_predicted() {
        let side = 256;
        let frames = [0, 255].map(|byte| RgbPicture { height: side, width: side, bytes: vec![byte; side * side * 3] });
        for precision in [Precision::F32, Precision::Bf16] {
            let (ops, config) = (Ops::cpu(precision, None).unwrap(), InterpolatorConfig::PUBLISHED);
            let network = Interpolator::load(&ops, &Scope::root(&RandomWeights::default()), config).unwrap();
            // Beside activations, every thread has the sums of its task and, on the matrix unit, its inputs: some 3 MB.
            let threads = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
            threads.install(|| {
                let [first, second] = frames.each_ref().map(|frame| network.encode(frame, &Interrupt::default()).unwrap());
                network.evaluate(&first, &second, 0.5, &Interrupt::default()).unwrap();
            });
            let (peak, live) = (ops.peak_live_bytes(), (side * side) as u64 * live_bytes(&config, DeviceFacts::of(&ops)));
            assert!(live * 100 < peak * 120 && live * 110 + (220 << 20) > peak * 100, "{precision:?}: {live} for {peak}");
        }
    }
}
