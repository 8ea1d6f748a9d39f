//! Frames of another size.

use super::error::MediaError;
use super::frame::{Frame, check_size};
use super::resample::{LANCZOS, Taps, resample, taps};

/// What becomes of a frame whose sides have another ratio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fit {
    /// It fills the size, and what stands out on two sides is cut off alike.
    #[default]
    Fill,
    /// It is seen whole, with black beside it.
    Contain,
    /// It is stretched.
    Stretch,
}

/// The frame in another size, by Lanczos' filter of three lobes in RGB, which is as much wider as the frame becomes smaller. Frames go through
/// one at a time, and a frame of the right size comes back as it is. Fails with [`MediaError::Setting`] for a size that no film may have.
pub fn resize(frame: &Frame, width: u32, height: u32, fit: Fit) -> Result<Frame, MediaError> {
    check_size(width, height)?;
    if (frame.width(), frame.height()) == (width, height) {
        return Ok(frame.clone());
    }
    match fit {
        Fit::Stretch => resample(frame, &scaled(frame.width(), width), &scaled(frame.height(), height)),
        Fit::Fill => {
            // What will be seen of the source: the target's shape, as large as goes in.
            let (seen_width, seen_height) = largest_within(frame.width(), frame.height(), width, height);
            let (x, y) = ((frame.width() - seen_width) / 2, (frame.height() - seen_height) / 2);
            resize(&frame.crop(x, y, seen_width, seen_height)?, width, height, Fit::Stretch)
        }
        Fit::Contain => {
            let (shown_width, shown_height) = largest_within(width, height, frame.width(), frame.height());
            let shown = resize(frame, shown_width, shown_height, Fit::Stretch)?;
            let (left, top) = ((width - shown_width) / 2, (height - shown_height) / 2);
            Frame::from_fn(width, height, |x, y| {
                let within = (left..left + shown_width).contains(&x) && (top..top + shown_height).contains(&y);
                if within { shown.pixel(x - left, y - top) } else { [0; 3] }
            })
        }
    }
}

/// What each of `to` pixels is made of when `from` become that many.
fn scaled(from: u32, to: u32) -> Vec<Taps> {
    let step = f64::from(from) / f64::from(to);
    taps((0..to).map(|pixel| (f64::from(pixel) + 0.5) * step), step, LANCZOS, from as usize)
}

/// The largest size within `width × height` that has the shape of `shape_width × shape_height`.
fn largest_within(width: u32, height: u32, shape_width: u32, shape_height: u32) -> (u32, u32) {
    let [width_64, height_64, shape_width, shape_height] = [width, height, shape_width, shape_height].map(u64::from);
    let rounded = |product: u64, by: u64| ((product + by / 2) / by).max(1) as u32;
    if width_64 * shape_height > height_64 * shape_width {
        (rounded(height_64 * shape_width, shape_height).min(width), height)
    } else {
        (width, rounded(width_64 * shape_height, shape_width).min(height))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Left half red, right half blue.
    fn halves(width: u32, height: u32) -> Frame {
        Frame::from_fn(width, height, |x, _| if x < width / 2 { [255, 0, 0] } else { [0, 0, 255] }).unwrap()
    }

    #[test]
    fn each_fit_shows_what_it_says() {
        let wide = halves(64, 16);
        let stretched = resize(&wide, 32, 32, Fit::Stretch).unwrap();
        assert_eq!((stretched.pixel(2, 2), stretched.pixel(29, 29)), ([255, 0, 0], [0, 0, 255]));
        let contained = resize(&wide, 32, 32, Fit::Contain).unwrap();
        assert_eq!((contained.pixel(2, 2), contained.pixel(2, 16), contained.pixel(29, 31)), ([0; 3], [255, 0, 0], [0; 3]));
        let filled = resize(&wide, 32, 32, Fit::Fill).unwrap();
        assert_eq!((filled.pixel(2, 2), filled.pixel(2, 31), filled.pixel(29, 0)), ([255, 0, 0], [255, 0, 0], [0, 0, 255]));
        assert_eq!(resize(&wide, 64, 16, Fit::Contain).unwrap(), wide);
    }

    #[test]
    fn colours_do_not_bleed_as_they_do_by_way_of_yuv() {
        // One pixel wide stripes, doubled: at each centre stands the stripe's own colour.
        let stripes = Frame::from_fn(16, 2, |x, _| if x % 2 == 0 { [255, 0, 0] } else { [0, 255, 0] }).unwrap();
        let tripled = resize(&stripes, 48, 6, Fit::Stretch).unwrap();
        for x in 2..14 {
            let [red, green, blue] = tripled.pixel(x * 3 + 1, 3);
            assert!(if x % 2 == 0 { red > 250 && green < 5 } else { green > 250 && red < 5 }, "{x}: {red} {green}");
            assert_eq!(blue, 0);
        }
    }

    #[test]
    fn shapes_that_go_in() {
        assert_eq!(largest_within(64, 16, 1, 1), (16, 16));
        assert_eq!(largest_within(16, 64, 1, 1), (16, 16));
        assert_eq!(largest_within(1920, 1080, 1280, 768), (1800, 1080));
        assert_eq!(largest_within(10, 10, 8192, 1), (10, 1));
    }
}
