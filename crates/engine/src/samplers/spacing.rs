//! Which training timesteps a run of n steps visits (Lin et al. 2024, table 2), highest first.

/// `timestep_spacing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spacing {
    /// From the last timestep to the first, evenly.
    Linspace,
    /// Multiples of a whole ratio, from zero upward, plus an offset.
    Leading,
    /// From the last timestep downward.
    Trailing,
}

/// The timesteps of `steps` steps, not yet rounded where diffusers does not round (`linspace` of Euler and Heun). `trained` is how
/// many timesteps the model knows, `offset` is added to leading ones.
pub(super) fn timesteps(spacing: Spacing, steps: usize, trained: usize, offset: usize) -> Vec<f64> {
    match spacing {
        Spacing::Linspace => reversed(linspace(0.0, (trained - 1) as f64, steps)),
        Spacing::Leading => {
            let ratio = trained / steps;
            (0..steps).rev().map(|index| (index * ratio + offset) as f64).collect()
        }
        Spacing::Trailing => trailing(steps, trained, trained),
    }
}

/// The timesteps of a multistep solver: a grid of `steps + 1` whose lowest is dropped, rounded to whole numbers. `last` is one past
/// the highest timestep used (below `trained` where `lambda_min_clipped` cuts the noisiest off).
pub(super) fn multistep_timesteps(spacing: Spacing, steps: usize, trained: usize, last: usize, offset: usize) -> Vec<f64> {
    match spacing {
        Spacing::Linspace => {
            let mut grid: Vec<f64> = linspace(0.0, (last - 1) as f64, steps + 1).into_iter().map(f64::round_ties_even).collect();
            grid.remove(0);
            reversed(grid)
        }
        Spacing::Leading => {
            let ratio = last / (steps + 1);
            (1..=steps).rev().map(|index| (index * ratio + offset) as f64).collect()
        }
        Spacing::Trailing => trailing(steps, trained, last),
    }
}

/// `arange(last, 0, -trained / steps)`, rounded, minus one. Where the division is inexact, `arange` may give one element too many, a
/// timestep of −1 (diffusers then takes a step that nobody asked for, for 61 and 103 steps among others); that one is left out.
fn trailing(steps: usize, trained: usize, last: usize) -> Vec<f64> {
    let ratio = trained as f64 / steps as f64;
    let count = ((last as f64 / ratio).ceil() as usize).clamp(1, steps);
    // numpy's arange adds multiples of the difference of its first two elements.
    let delta = (last as f64 - ratio) - last as f64;
    (0..count).map(|index| (last as f64 + index as f64 * delta).round_ties_even() - 1.0).collect()
}

/// `numpy.linspace`.
pub(super) fn linspace(start: f64, end: f64, count: usize) -> Vec<f64> {
    if count == 1 {
        return vec![start];
    }
    let step = (end - start) / (count - 1) as f64;
    let mut values: Vec<f64> = (0..count).map(|index| index as f64 * step + start).collect();
    if let Some(last) = values.last_mut() {
        *last = end;
    }
    values
}

fn reversed(mut values: Vec<f64>) -> Vec<f64> {
    values.reverse();
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_of_one_evaluation_a_step() {
        let leading = timesteps(Spacing::Leading, 30, 1000, 1);
        assert_eq!(leading[..3], [958.0, 925.0, 892.0]);
        assert_eq!(leading[28..], [34.0, 1.0]);
        assert_eq!(timesteps(Spacing::Leading, 4, 1000, 1), [751.0, 501.0, 251.0, 1.0]);
        assert_eq!(timesteps(Spacing::Trailing, 1, 1000, 0), [999.0]);
        assert_eq!(timesteps(Spacing::Trailing, 4, 1000, 0), [999.0, 749.0, 499.0, 249.0]);
        assert_eq!(timesteps(Spacing::Trailing, 8, 1000, 0)[..2], [999.0, 874.0]);
        assert_eq!(timesteps(Spacing::Linspace, 3, 1000, 0), [999.0, 499.5, 0.0]);
        assert_eq!(timesteps(Spacing::Linspace, 1, 1000, 0), [0.0]);
    }

    #[test]
    fn grids_of_the_multistep_solvers() {
        assert_eq!(multistep_timesteps(Spacing::Leading, 25, 1000, 1000, 1)[..3], [951.0, 913.0, 875.0]);
        assert_eq!(multistep_timesteps(Spacing::Linspace, 25, 1000, 1000, 0)[..3], [999.0, 959.0, 919.0]);
        assert_eq!(multistep_timesteps(Spacing::Trailing, 2, 1000, 1000, 0), [999.0, 499.0]);
    }

    #[test]
    fn every_number_of_steps_gives_as_many_timesteps_within_the_table() {
        for spacing in [Spacing::Linspace, Spacing::Leading, Spacing::Trailing] {
            for steps in 1..=1000 {
                let grid = timesteps(spacing, steps, 1000, 0);
                assert_eq!(grid.len(), steps, "{spacing:?}");
                assert!(grid.is_sorted_by(|left, right| left > right), "{spacing:?} {steps}");
                assert!(grid.iter().all(|timestep| (0.0..1000.0).contains(timestep)), "{spacing:?} {steps}");
            }
        }
    }
}
