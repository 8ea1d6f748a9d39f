//! What a request costs: before it is sent, and after. Pure.

use std::cmp::Reverse;

use crate::domain::{JobKind, Micros, Price, Tier};
use crate::providers::Usage;

/// The length of a film of which nothing is known, milliseconds.
const USUAL_MS: u64 = 5000;
/// The longest film that anything is billed for, seconds: a provider's number above it is no number of seconds.
const MOST_SECONDS: f64 = 24.0 * 3600.0;

/// What is billed of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Billed {
    /// Pictures, or a film.
    pub output: JobKind,
    /// The length of the film, where it is known.
    pub seconds: Option<u32>,
    /// How many pictures.
    pub pictures: u32,
}

/// The price of a model in a tier: the most exact of those that fit, the first among equals. Of the model's `names`, the first is the most
/// exact.
pub fn price_of<'a>(prices: &'a [Price], names: &[&str], tier: Option<Tier>) -> Option<&'a Price> {
    let fits = |price: &&Price| {
        price.model.as_deref().is_none_or(|name| names.contains(&name)) && price.tier.is_none_or(|other| Some(other) == tier)
    };
    let exactness = |price: &&Price| {
        let at = price.model.as_deref().and_then(|model| names.iter().position(|name| *name == model));
        (at.map(Reverse), price.tier.is_some())
    };
    prices.iter().filter(fits).rev().max_by_key(exactness)
}

/// What a request will probably cost; nothing without a price.
pub fn estimate(price: Option<&Price>, billed: &Billed) -> Micros {
    let Some(price) = price else { return Micros::ZERO };
    let ms = billed.seconds.map_or(USUAL_MS, |seconds| u64::from(seconds) * 1000);
    total(price, billed.output, ms, billed.pictures)
}

/// What a request that gave results costs: by what the provider says that it used up, else by what was asked for.
pub fn settle(price: Option<&Price>, billed: &Billed, usage: &Usage, made: u32) -> Micros {
    let Some(price) = price else { return Micros::ZERO };
    let asked_ms = billed.seconds.map_or(USUAL_MS, |seconds| u64::from(seconds) * 1000);
    let used_ms =
        usage.seconds.filter(|seconds| (0.0..=MOST_SECONDS).contains(seconds)).map(|seconds| (seconds * 1000.0).round() as u64);
    // A number of pictures far beyond what was asked for is no number of pictures.
    let used_pictures = usage.pictures.filter(|pictures| *pictures <= billed.pictures.max(made).saturating_mul(4));
    total(price, billed.output, used_ms.unwrap_or(asked_ms), used_pictures.unwrap_or(made))
}

fn total(price: &Price, output: JobKind, ms: u64, pictures: u32) -> Micros {
    let things = match output {
        JobKind::Film => price.per_second.for_milliseconds(ms),
        JobKind::Image => price.per_picture.times(pictures),
    };
    price.per_request.plus(things)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn price(model: Option<&str>, tier: Option<Tier>, per_second: &str) -> Price {
        Price { model: model.map(str::to_owned), tier, per_second: per_second.parse().unwrap(), ..Price::default() }
    }

    const FILM: Billed = Billed { output: JobKind::Film, seconds: Some(6), pictures: 1 };
    const PICTURES: Billed = Billed { output: JobKind::Image, seconds: None, pictures: 3 };

    #[test]
    fn the_most_exact_price_counts() {
        let prices = [
            price(None, None, "1"),
            price(None, Some(Tier::P1080), "2"),
            price(Some("a"), None, "3"),
            price(Some("a"), Some(Tier::P1080), "4"),
            price(Some("a"), Some(Tier::P1080), "5"),
        ];
        for (model, tier, expected) in [
            ("a", Some(Tier::P1080), "4"),
            ("a", Some(Tier::P720), "3"),
            ("a", None, "3"),
            ("b", Some(Tier::P1080), "2"),
            ("b", Some(Tier::P720), "1"),
            ("b", None, "1"),
        ] {
            let found = price_of(&prices, &[model], tier).map(|price| price.per_second.to_string());
            assert_eq!(found.as_deref(), Some(expected), "{model} {tier:?}");
        }
        assert_eq!(price_of(&prices[2..], &["b"], None), None);
        let of_names = |names: &[&str]| price_of(&prices, names, None).map(|price| price.per_second.to_string());
        assert_eq!(of_names(&["b", "a"]).as_deref(), Some("3"), "another name's price goes before that of any model");
        let both = [price(Some("a"), Some(Tier::P720), "6"), price(Some("b"), None, "7")];
        let found = price_of(&both, &["b", "a"], Some(Tier::P720)).map(|price| price.per_second.to_string());
        assert_eq!(found.as_deref(), Some("7"), "the name that is used goes before the other");
    }

    #[test]
    fn seconds_pictures_and_requests_are_billed() {
        let price = Price {
            per_second: "0.24".parse().unwrap(),
            per_picture: "0.02".parse().unwrap(),
            per_request: "0.001".parse().unwrap(),
            ..Price::default()
        };
        assert_eq!(estimate(Some(&price), &FILM).to_string(), "1.441");
        assert_eq!(estimate(Some(&price), &Billed { seconds: None, ..FILM }).to_string(), "1.201");
        assert_eq!(estimate(Some(&price), &PICTURES).to_string(), "0.061");
        assert_eq!(estimate(None, &FILM), Micros::ZERO);
        let used = |seconds, pictures| Usage { seconds, pictures };
        assert_eq!(settle(Some(&price), &FILM, &used(Some(5.25), None), 1).to_string(), "1.261");
        assert_eq!(settle(Some(&price), &FILM, &used(None, None), 1).to_string(), "1.441");
        assert_eq!(settle(Some(&price), &PICTURES, &used(None, Some(2)), 3).to_string(), "0.041");
        assert_eq!(settle(Some(&price), &PICTURES, &used(None, None), 1).to_string(), "0.021", "one of three came");
        // Numbers that are none.
        for seconds in [f64::NAN, f64::INFINITY, -1.0, 1e12] {
            assert_eq!(settle(Some(&price), &FILM, &used(Some(seconds), None), 1).to_string(), "1.441", "{seconds}");
        }
        assert_eq!(settle(Some(&price), &PICTURES, &used(None, Some(u32::MAX)), 3).to_string(), "0.061");
    }

    proptest! {
        #[test]
        fn costs_are_never_below_nothing(
            per_second in any::<i64>(), per_picture in any::<i64>(), seconds in any::<f64>(), pictures in any::<u32>(), made in any::<u32>(),
        ) {
            let price = Price { per_second: Micros::new(per_second), per_picture: Micros::new(per_picture), ..Price::default() };
            let usage = Usage { seconds: Some(seconds), pictures: Some(pictures) };
            for billed in [FILM, PICTURES] {
                prop_assert!(settle(Some(&price), &billed, &usage, made) >= Micros::ZERO);
            }
        }
    }
}
