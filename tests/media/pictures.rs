//! Posters, thumbnails and sheets.

use framewright::domain::{FrameRate, VideoCodec};
use framewright::media::decode::decode_image;
use framewright::media::video::{MediaError, StillFormat, VideoSettings, frame_at, poster, sprite_sheet, thumbnail};

use crate::support::{never, number_of, numbered, numbered_film};

#[test]
fn a_poster_is_the_frame_that_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("film.mkv");
    numbered_film(&path, &VideoSettings::new(80, 48, FrameRate::FILM).with_codec(VideoCodec::Ffv1), 12);
    for at in [0, 5, 11] {
        let expected = numbered(80, 48, at);
        assert_eq!(frame_at(&path, at, &never).unwrap(), expected);
        for format in [StillFormat::Png, StillFormat::WebP, StillFormat::Jpeg { quality: 95 }] {
            let decoded = decode_image(&poster(&path, at, format, &never).unwrap()).unwrap();
            assert_eq!((decoded.width, decoded.height), (80, 48));
            let exact = !matches!(format, StillFormat::Jpeg { .. });
            assert!(!exact || decoded.rgb == expected.rgb(), "{format:?}");
        }
    }
    let small = decode_image(&thumbnail(&path, 3, 40, &never).unwrap()).unwrap();
    assert_eq!((small.width, small.height), (40, 24));
    let error = poster(&path, 12, StillFormat::Png, &never).unwrap_err();
    assert_eq!(error.to_string(), "'film.mkv' has 12 frames; 13 are needed");
    assert!(matches!(poster(&path, 3, StillFormat::Png, &|| true), Err(MediaError::Interrupted)));
}

#[test]
fn a_sheet_shows_the_film_evenly() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("film.mp4");
    numbered_film(&path, &VideoSettings::new(128, 96, FrameRate::FILM), 48);
    let sheet = sprite_sheet(&path, 4, 3, 64, &never).unwrap();
    assert_eq!((sheet.sheet.width(), sheet.sheet.height()), (256, 144));
    assert_eq!((sheet.index.tile_width, sheet.index.tile_height, sheet.index.tiles.len()), (64, 48, 12));
    for (place, tile) in sheet.index.tiles.iter().enumerate() {
        assert_eq!(tile.frame, place as u64 * 4);
        assert!((tile.end - tile.start - 4.0 / 24.0).abs() < 1e-9);
        let shown = sheet.sheet.crop(tile.x, tile.y, 64, 48).unwrap();
        assert_eq!(number_of(&shown), tile.frame % 16, "{place}");
    }
    assert!(sheet.index.to_vtt("sheet.jpg").contains("00:00:00.167 --> 00:00:00.333\nsheet.jpg#xywh=64,0,64,48\n"));
    let few = sprite_sheet(&path, 10, 10, 32, &never).unwrap();
    assert_eq!(few.index.tiles.len(), 48);
    assert_eq!(few.sheet.pixel(319, 239), [0; 3]);
    for (columns, rows, width) in [(0, 1, 64), (21, 20, 64), (u32::MAX, 2, 64), (20, 20, 500)] {
        assert!(matches!(sprite_sheet(&path, columns, rows, width, &never), Err(MediaError::Setting { .. })));
    }
}
