//! A lower bound of model loads: Belady's choice over windows; see `docs/scheduler-simulation.md`.

use std::collections::{BTreeMap, BTreeSet};

/// A stretch of time in which a device evaluated one model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) model: usize,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
}

/// Loads that no schedule can avoid which gives every model the device time that `stretches` gave it in every window of `window_ms`, with
/// room for `places` loaded models on all devices together.
pub(crate) fn fewest_loads(stretches: &[Stretch], window_ms: i64, places: usize) -> usize {
    let mut service: BTreeMap<(i64, usize), i64> = BTreeMap::new();
    for stretch in stretches {
        let mut from = stretch.start_ms;
        while from < stretch.end_ms {
            let window = from / window_ms;
            let to = stretch.end_ms.min((window + 1) * window_ms);
            *service.entry((window, stretch.model)).or_default() += to - from;
            from = to;
        }
    }
    // A copy is needed in a window when its model's service there is more than the copies before it can give.
    let mut needs: BTreeMap<(usize, i64), Vec<i64>> = BTreeMap::new();
    for (&(window, model), &ms) in &service {
        for copy in 0..(ms + window_ms - 1) / window_ms {
            needs.entry((model, copy)).or_default().push(window);
        }
    }
    let requests: usize = needs.values().map(Vec::len).sum();
    // A copy kept from one need to the next saves a load and holds a place over every boundary and every window between. At a boundary all
    // places can be held; through a window, only those that the devices which evaluate in it, on average, leave. The most intervals that
    // can be kept are found from left to right: where there are too many, those that end last are given up.
    let mut begins: BTreeMap<i64, Vec<(i64, usize, i64)>> = BTreeMap::new();
    for (&(model, copy), windows) in &needs {
        for pair in windows.windows(2) {
            begins.entry(pair[0]).or_default().push((pair[1], model, copy));
        }
    }
    let Some(&last) = service.keys().map(|(window, _)| window).max() else { return 0 };
    let (mut held, mut saved) = (BTreeSet::<(i64, usize, i64)>::new(), 0);
    for window in 0..=last {
        while held.first().is_some_and(|&(end, ..)| end <= window) {
            held.pop_first();
            saved += 1;
        }
        let busy_ms: i64 = service.range((window, 0)..(window + 1, 0)).map(|(_, ms)| ms).sum();
        let busy = ((busy_ms + window_ms - 1) / window_ms) as usize;
        while held.len() > places.saturating_sub(busy) {
            held.pop_last();
        }
        held.extend(begins.remove(&window).unwrap_or_default());
        while held.len() > places {
            held.pop_last();
        }
    }
    requests - saved - held.len()
}

#[test]
fn the_bound_is_beladys() {
    let stretch = |model, window: i64| Stretch { model, start_ms: window * 100, end_ms: window * 100 + 50 };
    // One place, two models in turn: each need is a load.
    let turns: Vec<Stretch> = (0..6).map(|window| stretch(window as usize % 2, window)).collect();
    assert_eq!(fewest_loads(&turns, 100, 1), 6);
    assert_eq!(fewest_loads(&turns, 100, 2), 2);
    // Within one window any order is allowed.
    assert_eq!(fewest_loads(&turns, 600, 1), 2);
    // Three models in turn over two places: one of three needs is saved each time.
    let turns: Vec<Stretch> = (0..9).map(|window| stretch(window as usize % 3, window)).collect();
    assert_eq!(fewest_loads(&turns, 100, 2), 6);
    // More than a device can give in a window takes two copies.
    let full = Stretch { model: 0, start_ms: 0, end_ms: 100 };
    assert_eq!(fewest_loads(&[full, full], 100, 4), 2);
}
