//! Tells from pixels alone which colours and which shape a picture of the demo model's world shows: steps 1 to 6 of
//! `scripts/demo_models/README.md`, which says them in words.

use std::cmp::Reverse;
use std::f64::consts::PI;

use framewright_engine::vision::RgbPicture;

/// Width and height of every picture. A row of a mask is one integer.
const SIDE: usize = 128;
const MIDDLE: f64 = SIDE as f64 / 2.0;

/// Of two colours equally near, and of two equally frequent, the earlier is taken.
const PALETTE: [(&str, [u8; 3]); 10] = [
    ("red", [215, 30, 40]),
    ("green", [30, 150, 60]),
    ("blue", [35, 65, 215]),
    ("yellow", [250, 225, 45]),
    ("orange", [245, 130, 20]),
    ("purple", [125, 40, 165]),
    ("cyan", [60, 205, 225]),
    ("pink", [250, 145, 195]),
    ("white", [245, 245, 245]),
    ("black", [22, 22, 24]),
];

const TEMPLATE_SIZES: std::ops::RangeInclusive<u32> = 36..=96;
const TEMPLATE_SIZE_STEP: usize = 4;
const TEMPLATE_SHIFTS: [isize; 5] = [-4, -2, 0, 2, 4];

/// What a picture can show, in the order in which templates are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Circle,
    Square,
    Triangle,
    Star,
    Cross,
    Ring,
}

impl Shape {
    pub(crate) const ALL: [Self; 6] = [Self::Circle, Self::Square, Self::Triangle, Self::Star, Self::Cross, Self::Ring];

    /// The word in prompts.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Star => "star",
            Self::Cross => "cross",
            Self::Ring => "ring",
        }
    }

    /// Whether the point is inside, in units of the shape's size, x to the right, y downwards.
    fn contains(self, x: f64, y: f64) -> bool {
        let radius = x.hypot(y);
        match self {
            Self::Circle => radius <= 0.5,
            Self::Ring => (0.27..=0.5).contains(&radius),
            Self::Square => x.abs() <= 0.45 && y.abs() <= 0.45,
            Self::Cross => (x.abs() <= 0.17 && y.abs() <= 0.5) || (x.abs() <= 0.5 && y.abs() <= 0.17),
            Self::Triangle => polygon_contains(&[(0.0, -0.46), (0.5, 0.42), (-0.5, 0.42)], x, y),
            Self::Star => {
                let corner = |index: usize| {
                    let radius = if index.is_multiple_of(2) { 0.54 } else { 0.23 };
                    let (sine, cosine) = (PI * index as f64 / 5.0).sin_cos();
                    (radius * sine, -radius * cosine)
                };
                polygon_contains(&std::array::from_fn::<_, 10, _>(corner), x, y)
            }
        }
    }
}

/// Counts the edges that a ray to the right crosses.
fn polygon_contains(corners: &[(f64, f64)], x: f64, y: f64) -> bool {
    let next = corners.iter().cycle().skip(1);
    let crossed = corners.iter().zip(next).filter(|&(&(x1, y1), &(x2, y2))| {
        let between = (y1 > y) != (y2 > y);
        between && x < (x2 - x1) * (y - y1) / (y2 - y1) + x1
    });
    crossed.count() % 2 == 1
}

/// A set of pixels: a row is an integer whose bit `n` is column `n`.
#[derive(Clone)]
struct Mask([u128; SIDE]);

impl Mask {
    fn from_pixels(set: impl Fn(usize, usize) -> bool) -> Self {
        let row = |row| (0..SIDE).filter(|column| set(*column, row)).fold(0, |bits, column| bits | 1 << column);
        Self(std::array::from_fn(row))
    }

    /// The pixels whose centre lies inside the shape.
    fn of_shape(shape: Shape, size: f64, (x, y): (f64, f64)) -> Self {
        Self::from_pixels(|column, row| shape.contains((column as f64 + 0.5 - x) / size, (row as f64 + 0.5 - y) / size))
    }

    fn area(&self) -> u32 {
        self.0.iter().map(|row| row.count_ones()).sum()
    }

    /// Shifted by whole pixels; what leaves the picture is lost.
    fn moved(&self, right: isize, down: isize) -> Self {
        let row = |row: usize| {
            let from = row.checked_add_signed(-down).and_then(|from| self.0.get(from)).copied().unwrap_or_default();
            let columns = right.unsigned_abs() as u32;
            let shifted = if right < 0 { from.checked_shr(columns) } else { from.checked_shl(columns) };
            shifted.unwrap_or_default()
        };
        Self(std::array::from_fn(row))
    }

    /// Shifted so that the mean column and row of the set pixels come to the middle; `None` if there are none.
    fn centred(&self) -> Option<Self> {
        let area = self.area();
        if area == 0 {
            return None;
        }
        let columns: u32 = self.0.iter().map(|row| (0..SIDE as u32).filter(|column| row >> column & 1 == 1).sum::<u32>()).sum();
        let rows: u32 = self.0.iter().zip(0..).map(|(row, index)| index * row.count_ones()).sum();
        let offset = |sum: u32| (SIDE / 2) as isize - (f64::from(sum) / f64::from(area) + 0.5).floor() as isize;
        Some(self.moved(offset(columns), offset(rows)))
    }

    /// Intersection over union.
    fn overlap(&self, other: &Self) -> f64 {
        let pairs = || self.0.iter().zip(&other.0);
        let common: u32 = pairs().map(|(left, right)| (left & right).count_ones()).sum();
        let union: u32 = pairs().map(|(left, right)| (left | right).count_ones()).sum();
        f64::from(common) / f64::from(union)
    }
}

/// What a picture shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The most frequent colour.
    pub(crate) background: &'static str,
    /// The second.
    pub(crate) foreground: &'static str,
    /// Nothing, if all of the picture is background.
    pub(crate) shape: Option<Shape>,
}

impl Seen {
    /// Whether the two dominant colours are these two.
    pub(crate) fn has_colours(&self, one: &str, other: &str) -> bool {
        [[one, other], [other, one]].contains(&[self.background, self.foreground])
    }
}

/// Holds the templates: every shape, at every size, at every small shift.
pub(crate) struct Recogniser {
    templates: Vec<(Shape, Mask)>,
}

impl Recogniser {
    pub(crate) fn new() -> Self {
        let mut templates = Vec::new();
        for shape in Shape::ALL {
            for size in TEMPLATE_SIZES.step_by(TEMPLATE_SIZE_STEP) {
                let Some(mask) = Mask::of_shape(shape, f64::from(size), (MIDDLE, MIDDLE)).centred() else { continue };
                for down in TEMPLATE_SHIFTS {
                    templates.extend(TEMPLATE_SHIFTS.map(|right| (shape, mask.moved(right, down))));
                }
            }
        }
        Self { templates }
    }

    pub(crate) fn look(&self, picture: &RgbPicture) -> Seen {
        assert_eq!((picture.width, picture.height), (SIDE, SIDE));
        let pixels = picture.bytes.as_chunks().0;
        let mut counts = [0_usize; PALETTE.len()];
        for pixel in pixels {
            let nearest = (0..PALETTE.len()).min_by_key(|colour| squared_distance(*pixel, *colour));
            counts[nearest.unwrap_or_default()] += 1;
        }
        let mut colours: [usize; PALETTE.len()] = std::array::from_fn(|colour| colour);
        colours.sort_by_key(|colour| Reverse(counts[*colour]));
        let [background, foreground, ..] = colours;
        let mask = Mask::from_pixels(|column, row| {
            let pixel = pixels[row * SIDE + column];
            squared_distance(pixel, foreground) < squared_distance(pixel, background)
        });
        Seen {
            background: PALETTE[background].0,
            foreground: PALETTE[foreground].0,
            shape: mask.centred().and_then(|mask| self.nearest(&mask)),
        }
    }

    /// The shape of the first template of largest overlap.
    fn nearest(&self, mask: &Mask) -> Option<Shape> {
        let mut best = (None, 0.0);
        for (shape, template) in &self.templates {
            let overlap = template.overlap(mask);
            if overlap > best.1 {
                best = (Some(*shape), overlap);
            }
        }
        best.0
    }
}

fn squared_distance(pixel: [u8; 3], colour: usize) -> u32 {
    let channels = pixel.into_iter().zip(PALETTE[colour].1);
    channels.map(|(left, right)| u32::from(left.abs_diff(right)).pow(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hard-edged picture, its colours `off` from the palette's.
    fn drawn(mask: &Mask, foreground: usize, background: usize, off: i16) -> RgbPicture {
        let pixel = |index: usize| {
            let inside = mask.0[index / SIDE] >> (index % SIDE) & 1 == 1;
            let colour = PALETTE[if inside { foreground } else { background }].1;
            colour.map(|channel| (i16::from(channel) + off).clamp(0, 255) as u8)
        };
        RgbPicture { height: SIDE, width: SIDE, bytes: (0..SIDE * SIDE).flat_map(pixel).collect() }
    }

    #[test]
    fn there_are_2400_templates_and_each_recognises_itself() {
        let recogniser = Recogniser::new();
        assert_eq!(recogniser.templates.len(), 2400);
        for (shape, template) in recogniser.templates.iter().step_by(7) {
            assert_eq!(recogniser.nearest(template), Some(*shape));
        }
    }

    #[test]
    fn drawn_pictures_are_recognised_at_every_size_and_place() {
        let recogniser = Recogniser::new();
        let mut colours =
            (0..PALETTE.len()).flat_map(|one| (1..PALETTE.len()).map(move |step| (one, (one + step) % PALETTE.len())));
        for shape in Shape::ALL {
            // The sizes and places that the model was taught, off the templates' grid.
            for (size, reach) in [(43.0, 31.4), (46.7, 29.1), (49.0, 28.2), (81.0, 21.8), (84.7, 19.3), (87.0, 18.1)] {
                for (right, down) in [(0.0, 0.0), (-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0)] {
                    let mask = Mask::of_shape(shape, size, (MIDDLE + right * reach, MIDDLE + down * reach));
                    let (foreground, background) = colours.next().unwrap_or((0, 1));
                    let seen = recogniser.look(&drawn(&mask, foreground, background, size as i16 % 8 - 4));
                    let expected =
                        Seen { background: PALETTE[background].0, foreground: PALETTE[foreground].0, shape: Some(shape) };
                    assert_eq!(seen, expected, "size {size} at {right}, {down}");
                }
            }
        }
    }

    #[test]
    fn an_even_picture_shows_no_shape() {
        let nothing = Mask([0; SIDE]);
        for (colour, (name, _)) in PALETTE.iter().enumerate() {
            let seen = Recogniser { templates: Vec::new() }.look(&drawn(&nothing, 0, colour, 0));
            assert_eq!((seen.background, seen.shape), (*name, None));
        }
    }

    #[test]
    fn masks_are_centred_by_whole_pixels_and_lose_what_leaves() {
        let square = |x: usize, y: usize| Mask::from_pixels(|column, row| column.abs_diff(x) <= 2 && row.abs_diff(y) <= 2);
        for (x, y) in [(2, 2), (64, 64), (125, 3), (80, 20)] {
            assert_eq!(square(x, y).centred().map(|mask| mask.0), Some(square(64, 64).0));
        }
        assert_eq!(square(2, 2).moved(-3, -4).area(), 2);
        assert_eq!(square(2, 2).moved(200, 0).area(), 0);
        assert_eq!(square(2, 2).moved(0, -200).area(), 0);
        assert!(square(64, 64).moved(128, 128).centred().is_none());
    }
}
