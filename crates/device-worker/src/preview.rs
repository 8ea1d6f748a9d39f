//! When a growing picture is shown, and as what.

use framewright_engine::vision::RgbPicture;

/// Previews that one picture's run makes at most, spread evenly: past this they cost more than they show.
const MOST_PREVIEWS: usize = 50;

/// Whether to show a picture after evaluation `done` (from 1) of the `all` that it takes.
pub(crate) fn is_due(done: usize, all: usize) -> bool {
    done == all || done.is_multiple_of(all.div_ceil(MOST_PREVIEWS).max(1))
}

/// 8-bit RGB as PNG; `None`, and a line in the log, when it cannot be encoded.
pub(crate) fn png(picture: &RgbPicture) -> Option<Vec<u8>> {
    let encode = || {
        let mut bytes = Vec::with_capacity(picture.bytes.len() / 2 + 256);
        let mut encoder = png::Encoder::new(&mut bytes, picture.width as u32, picture.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&picture.bytes)?;
        writer.finish()?;
        Ok::<_, png::EncodingError>(bytes)
    };
    encode().inspect_err(|error| tracing::warn!(%error, "No preview: {error}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_runs_are_not_shown_at_every_evaluation() {
        let shown = |all: usize| (1..=all).filter(|&done| is_due(done, all)).collect::<Vec<_>>();
        assert_eq!(shown(3), [1, 2, 3]);
        assert_eq!(shown(50).len(), 50);
        assert_eq!(shown(51).len(), 26);
        assert_eq!(*shown(299).last().unwrap(), 299);
        assert!((1..2000).all(|all| shown(all).len() <= MOST_PREVIEWS + 1));
    }

    #[test]
    fn a_preview_is_a_png() {
        let picture = RgbPicture { height: 2, width: 3, bytes: vec![7; 18] };
        assert!(png(&picture).unwrap().starts_with(b"\x89PNG"));
        assert!(png(&RgbPicture { height: 2, width: 3, bytes: vec![7; 17] }).is_none());
    }
}
