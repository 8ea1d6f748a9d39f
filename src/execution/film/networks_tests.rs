//! Networks of random weights that take turns, that are stopped, and that are others than were asked for.

use std::path::{Path, PathBuf};

use super::super::NetworkFile;
use super::*;
use crate::domain::film::tests::film as plain_film;
use crate::domain::film::{Interpolation, Upscaling};
use crate::domain::{ErrorCode, NetworkIdentity};

const FLOWNET: &str = "interpolate/saved/flownet.pkl";
const COMPACT: &str = "upscale/saved/compact.pth";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/engine/tests/fixtures").join(name)
}

fn tools() -> FilmTools {
    let file = |name| Some(NetworkFile::look_at(&fixture(name)).unwrap());
    FilmTools { interpolation_model: file(FLOWNET), upscaling_model: file(COMPACT), ..FilmTools::default() }
}

/// A film that both networks finish.
fn film() -> FilmRequest {
    let mut film = plain_film(&[24]);
    (film.interpolation, film.upscaling) = (Interpolation::Rife, Upscaling::RealEsrgan);
    film.name_networks(&tools().installed());
    film
}

fn level(level: u8) -> Frame {
    Frame::filled(64, 48, [level; 3]).unwrap()
}

/// The frame at `part` of three on the way from one to another.
fn between<'a>(first: &'a Frame, second: &'a Frame, part: u64) -> Between<'a> {
    Between { number: 0, first, second, part, of: 3 }
}

#[test]
fn a_network_gives_its_memory_back_before_the_others_turn() {
    let (film, tools, interrupt) = (film(), tools(), Interrupt::default());
    let studio = Studio::new(&film, &tools, &interrupt);
    let (mut betweens, mut enlarger) = (Betweens::new(&studio), Enlarger::new(&studio));
    let (first, second) = (level(10), level(90));
    for part in 1..3 {
        betweens.make(&between(&first, &second, part)).unwrap();
        let kept = |ops: &Ops| ops.kept_scratch_bytes();
        assert!(kept(&betweens.opened.as_ref().unwrap().ops) > 0);
        assert_eq!(enlarger.opened.as_ref().map_or(0, |opened| kept(&opened.ops)), 0);
        enlarger.enlarge(first.clone()).unwrap();
        assert_eq!(kept(&betweens.opened.as_ref().unwrap().ops), 0);
        assert!(kept(&enlarger.opened.as_ref().unwrap().ops) > 0);
    }
}

#[test]
fn a_network_that_is_told_to_stop_neither_computes_nor_is_read() {
    let (film, tools, interrupt) = (film(), tools(), Interrupt::default());
    let studio = Studio::new(&film, &tools, &interrupt);
    let (mut betweens, mut enlarger) = (Betweens::new(&studio), Enlarger::new(&studio));
    let (first, second) = (level(10), level(90));
    betweens.make(&between(&first, &second, 1)).unwrap();
    enlarger.enlarge(first.clone()).unwrap();
    interrupt.cancel();
    // Both frames have been looked at: what would go on is the network itself.
    assert!(matches!(betweens.make(&between(&first, &second, 2)), Err(FilmError::Interrupted)));
    assert!(matches!(enlarger.enlarge(second.clone()), Err(FilmError::Interrupted)));
    assert!(matches!(Betweens::new(&studio).make(&between(&first, &second, 1)), Err(FilmError::Interrupted)));
    assert!(matches!(Enlarger::new(&studio).enlarge(first.clone()), Err(FilmError::Interrupted)));
}

#[test]
fn another_network_than_was_accepted_is_refused() {
    let (own, tools, interrupt) = (film(), tools(), Interrupt::default());
    let identity = own.upscaling_network.clone().unwrap();
    let other = NetworkIdentity { sha256: "0".repeat(64), ..identity.clone() };
    let in_bf16 = NetworkIdentity { precision: "bf16".to_owned(), ..identity };
    for wanted in [other, in_bf16] {
        let film = FilmRequest { upscaling_network: Some(wanted.clone()), interpolation_network: Some(wanted), ..own.clone() };
        let studio = Studio::new(&film, &tools, &interrupt);
        let (first, second) = (level(10), level(90));
        let enlarged = Enlarger::new(&studio).enlarge(first.clone()).unwrap_err();
        let made = Betweens::new(&studio).make(&between(&first, &second, 1)).unwrap_err();
        for (error, name) in [(enlarged, "Real-ESRGAN"), (made, "RIFE")] {
            assert_eq!(error.code(), ErrorCode::ModelUnavailable);
            assert!(error.to_string().starts_with(&format!("this server's {name} is another one")), "{error}");
        }
    }
    // Requests of before networks were named take what there is.
    let unnamed = FilmRequest { upscaling_network: None, ..own };
    Enlarger::new(&Studio::new(&unnamed, &tools, &interrupt)).enlarge(level(10)).unwrap();
}

#[test]
fn weights_that_were_replaced_after_the_start_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weights.pth");
    std::fs::copy(fixture(COMPACT), &path).unwrap();
    let tools = FilmTools { upscaling_model: Some(NetworkFile::look_at(&path).unwrap()), ..tools() };
    let (film, interrupt) = (film(), Interrupt::default());
    let studio = Studio::new(&film, &tools, &interrupt);
    Enlarger::new(&studio).enlarge(level(10)).unwrap();
    std::fs::copy(fixture(FLOWNET), &path).unwrap();
    let error = Enlarger::new(&studio).enlarge(level(10)).unwrap_err();
    assert!(matches!(error, FilmError::Replaced { network: "Real-ESRGAN" }), "{error}");
}
