//! Evaluating the rows of several pictures or tasks together, such that each error is its own task's.

use framewright_engine::latent::Latent;
use framewright_engine::ops::Interrupt;
use framewright_engine::pipelines::{Evaluator, Row};
use framewright_engine::{Error, Result};

/// One answer per demand: its rows' outputs, or what is wrong with it.
///
/// All rows are evaluated in calls of at most `most_rows`. When a call fails, every demand is evaluated anew by itself and row by row
/// after `relieve`, so that an error that one of them causes is its alone, and one of too little memory has its best chance.
pub(crate) fn evaluate_together<E: Evaluator>(
    evaluator: &E,
    demands: &[Vec<Row<E::Conditioning>>],
    most_rows: usize,
    interrupt: &Interrupt,
    relieve: impl FnOnce(),
) -> Vec<Result<Vec<Latent>>> {
    let rows: Vec<Row<E::Conditioning>> = demands.iter().flatten().cloned().collect();
    match evaluate_rows(evaluator, &rows, most_rows, interrupt) {
        Ok(outputs) => {
            let mut outputs = outputs.into_iter();
            demands.iter().map(|demand| Ok(outputs.by_ref().take(demand.len()).collect())).collect()
        }
        Err(Error::Cancelled) => demands.iter().map(|_| Err(Error::Cancelled)).collect(),
        Err(error) => {
            let is_out_of_memory = crate::task::is_out_of_memory(&error);
            if demands.len() == 1 && !is_out_of_memory {
                return vec![Err(error)];
            }
            if is_out_of_memory {
                relieve();
            } else {
                tracing::warn!(%error, "A shared evaluation failed; trying each picture alone: {error}");
            }
            demands.iter().map(|demand| evaluate_rows(evaluator, demand, 1, interrupt)).collect()
        }
    }
}

fn evaluate_rows<E: Evaluator>(
    evaluator: &E,
    rows: &[Row<E::Conditioning>],
    most_rows: usize,
    interrupt: &Interrupt,
) -> Result<Vec<Latent>> {
    let mut outputs = Vec::with_capacity(rows.len());
    for chunk in rows.chunks(most_rows.max(1)) {
        let latents = evaluator.evaluate(chunk, interrupt)?;
        if latents.len() != chunk.len() {
            return Err(Error::Device(format!("the model answered {} rows with {}", chunk.len(), latents.len())));
        }
        outputs.extend(latents);
    }
    Ok(outputs)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::sync::Arc;

    use framewright_engine::vision::Picture;

    use super::*;

    /// Answers every row with its number; fails where the number is `poison`, or where a call has more rows than `memory` holds.
    #[derive(Default)]
    struct Echo {
        calls: RefCell<Vec<usize>>,
        poison: Option<usize>,
        memory: Option<usize>,
    }

    impl Evaluator for Echo {
        type Conditioning = usize;
        type Decoded = Picture;
        fn evaluate(&self, rows: &[Row<usize>], interrupt: &Interrupt) -> Result<Vec<Latent>> {
            interrupt.check()?;
            self.calls.borrow_mut().push(rows.len());
            if self.memory.is_some_and(|memory| rows.len() > memory) {
                return Err(Error::Device("out of memory".to_owned()));
            }
            if rows.iter().any(|row| Some(*row.conditioning) == self.poison) {
                return Err(Error::Device("poison".to_owned()));
            }
            Ok(rows.iter().map(|row| row.sample.map(|_| *row.conditioning as f32)).collect())
        }
        fn decode(&self, _latent: &Latent, _interrupt: &Interrupt) -> Result<Picture> {
            Err(Error::Device("not asked for".to_owned()))
        }
    }

    /// Eight demands of two rows each, numbered through.
    fn demands() -> Vec<Vec<Row<usize>>> {
        let row = |number| Row { sample: Latent::zeros(1, 1, 1, 1), timestep: 0.0, conditioning: Arc::new(number) };
        (0..8).map(|demand| vec![row(2 * demand), row(2 * demand + 1)]).collect()
    }

    fn numbers(outputs: &[Result<Vec<Latent>>]) -> Vec<Option<Vec<usize>>> {
        let values = |latents: &Vec<Latent>| latents.iter().map(|latent| latent.values[0] as usize).collect();
        outputs.iter().map(|output| output.as_ref().ok().map(values)).collect()
    }

    fn expected(but: Option<usize>) -> Vec<Option<Vec<usize>>> {
        (0..8).map(|demand| (Some(demand) != but).then(|| vec![2 * demand, 2 * demand + 1])).collect()
    }

    #[test]
    fn rows_share_calls_and_come_back_in_order() {
        let model = Echo::default();
        let outputs = evaluate_together(&model, &demands(), 7, &Interrupt::default(), || panic!("there is memory"));
        assert_eq!(numbers(&outputs), expected(None));
        assert_eq!(*model.calls.borrow(), [7, 7, 2]);
    }

    #[test]
    fn one_poison_among_seven_mates_fails_alone() {
        let model = Echo { poison: Some(9), ..Echo::default() };
        let outputs = evaluate_together(&model, &demands(), 16, &Interrupt::default(), || panic!("there is memory"));
        assert_eq!(numbers(&outputs), expected(Some(4)));
        assert_eq!(outputs[4].as_ref().unwrap_err().to_string(), "device: poison");
    }

    #[test]
    fn too_little_memory_is_tried_again_row_by_row() {
        let (model, relieved) = (Echo { memory: Some(1), ..Echo::default() }, Cell::new(0));
        let relieve = || relieved.set(relieved.get() + 1);
        let outputs = evaluate_together(&model, &demands()[..1], 2, &Interrupt::default(), relieve);
        assert_eq!(numbers(&outputs), expected(None)[..1]);
        assert_eq!((relieved.get(), model.calls.borrow().as_slice()), (1, &[2, 1, 1][..]));
        let model = Echo { memory: Some(0), ..Echo::default() };
        let outputs = evaluate_together(&model, &demands(), 16, &Interrupt::default(), || {});
        assert!(outputs.iter().all(Result::is_err));
    }

    #[test]
    fn an_interrupt_is_no_error_to_try_again() {
        let (model, interrupt) = (Echo::default(), Interrupt::default());
        interrupt.cancel();
        let outputs = evaluate_together(&model, &demands(), 16, &interrupt, || panic!("there is memory"));
        assert!(outputs.iter().all(|output| matches!(output, Err(Error::Cancelled))));
        assert!(model.calls.borrow().is_empty());
    }
}
