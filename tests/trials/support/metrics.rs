//! What `/metrics` says.

/// The samples of one look.
#[derive(Debug)]
pub(crate) struct Metrics(Vec<(String, f64)>);

impl Metrics {
    pub(crate) fn of(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        });
        Self(samples.collect())
    }

    /// Sum of the series of this name whose labels hold `part`: `outcome="completed"`.
    pub(crate) fn sum(&self, name: &str, part: &str) -> f64 {
        let is_meant = |series: &str| series.split('{').next() == Some(name) && series.contains(part);
        self.0.iter().filter(|(series, _)| is_meant(series)).map(|(_, value)| value).sum()
    }
}
