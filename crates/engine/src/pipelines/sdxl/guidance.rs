//! Classifier-free guidance (Ho and Salimans 2022), and its rescale (Lin et al. 2024, §3.4).

use crate::latent::Latent;

/// `negative + scale · (positive − negative)`; with `rescale` φ > 0, brought towards the positive prediction's deviation.
pub(super) fn guided(negative: &Latent, positive: &Latent, scale: f32, rescale: f32) -> Latent {
    let guided = negative.zip(positive, |negative, positive| negative + scale * (positive - negative));
    if rescale <= 0.0 {
        return guided;
    }
    let ratio = deviation(positive) / deviation(&guided);
    let rest = (1.0 - f64::from(rescale)) as f32;
    guided.map(|value| rescale * (value * ratio) + rest * value)
}

/// The unbiased standard deviation of all values.
fn deviation(latent: &Latent) -> f32 {
    let count = latent.values.len() as f64;
    let mean = latent.values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    let squares: f64 = latent.values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum();
    (squares / (count - 1.0)).sqrt() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latent(values: [f32; 4]) -> Latent {
        Latent { frames: 1, height: 1, width: 1, channels: 4, values: values.to_vec() }
    }

    #[test]
    fn guidance_extrapolates() {
        let (negative, positive) = (latent([0.0, 1.0, 2.0, 3.0]), latent([1.0, 1.0, 1.0, 5.0]));
        assert_eq!(guided(&negative, &positive, 5.0, 0.0).values, [5.0, 1.0, -3.0, 13.0]);
        assert_eq!(guided(&negative, &positive, 1.0, 0.0).values, positive.values);
    }

    #[test]
    fn a_full_rescale_has_the_positive_deviation() {
        let (negative, positive) = (latent([0.0, 1.0, 2.0, 3.0]), latent([1.0, -1.0, 1.0, 5.0]));
        let rescaled = guided(&negative, &positive, 7.0, 1.0);
        assert!((deviation(&rescaled) - deviation(&positive)).abs() < 1e-5);
        assert!((deviation(&latent([1.0, 2.0, 3.0, 4.0])) - 1.290_994_4).abs() < 1e-6);
    }
}
