//! The charts as inline SVG. Text and grid have the page's text colour, so that they follow light and dark.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::result::grouped;

/// One line of a percentile plot, or one bar of each group.
pub struct Series<T> {
    pub name: String,
    pub colour: RGBColor,
    pub values: T,
}

/// Readable on white and on black; the last is that of the floor.
pub const COLOURS: [RGBColor; 4] = [
    RGBColor(214, 98, 40),
    RGBColor(47, 128, 205),
    RGBColor(70, 155, 85),
    RGBColor(145, 100, 190),
];
pub const FLOOR_COLOUR: RGBColor = RGBColor(128, 136, 144);

const SIZE: (u32, u32) = (560, 340);
const FONT: &str = "sans-serif";

type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// Latency by percentile, both axes logarithmic: `values` are (1 / (1 - quantile), microseconds).
pub fn percentile_plot(title: &str, series: &[Series<Vec<(f64, f64)>>]) -> String {
    svg(|root| draw_percentiles(root, title, series))
}

/// Times over the run, the vertical axis logarithmic: `values` are (seconds, microseconds).
pub fn time_line(title: &str, series: &[Series<Vec<(f64, f64)>>]) -> String {
    svg(|root| draw_time_line(root, title, series))
}

/// Groups of bars on a linear axis from zero; `values` hold one bar for each group.
pub fn bar_chart(
    title: &str,
    unit: &str,
    groups: &[String],
    series: &[Series<Vec<f64>>],
) -> String {
    svg(|root| draw_bars(root, title, unit, groups, series))
}

type Root<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn svg(draw: impl for<'a> FnOnce(&Root<'a>) -> Drawn<'a>) -> String {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        draw(&root)
            .and_then(|()| root.present())
            .expect("drawing into a string does not fail");
    }
    svg.replace("\"#000000\"", "\"currentColor\"")
        .replace(" xmlns=\"http://www.w3.org/2000/svg\"", "")
}

/// Axes of the decimal logarithms of all points.
fn axes(series: &[Series<Vec<(f64, f64)>>]) -> (Axis, Axis) {
    let points = || series.iter().flat_map(|line| &line.values);
    let quantiles = points().map(|point| point.0.log10());
    let latencies = || points().map(|point| point.1.log10());
    let decades = quantiles.fold(2.0, f64::max).ceil();
    let lowest = latencies().fold(f64::INFINITY, f64::min);
    let lowest = if lowest.is_finite() {
        lowest.floor()
    } else {
        0.0
    };
    let highest = latencies().fold(lowest + 1.0, f64::max).ceil();
    // Room for half of the last label.
    let x = whole(0.0, decades, decades + 0.2);
    (x, whole(lowest, highest, highest))
}

/// Axes and grid of a chart of latencies.
struct Plane<'a> {
    title: &'a str,
    x: Axis,
    y: Axis,
    x_title: &'a str,
    y_title: &'a str,
    x_label: fn(f64) -> String,
}

type Chart<'a, 'b> = ChartContext<'b, SVGBackend<'a>, Cartesian2d<Axis, Axis>>;
type DrawnChart<'a, 'b> =
    Result<Chart<'a, 'b>, DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

impl Plane<'_> {
    /// The vertical axis has decimal logarithms of microseconds.
    fn draw<'a, 'b>(self, root: &'b Root<'a>) -> DrawnChart<'a, 'b> {
        let mut chart = ChartBuilder::on(root)
            .caption(self.title, (FONT, 17))
            .margin(6)
            .x_label_area_size(40)
            .y_label_area_size(62)
            .build_cartesian_2d(self.x, self.y)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc(self.x_title)
            .y_desc(self.y_title)
            .axis_desc_style((FONT, 14))
            .label_style((FONT, 13))
            .x_label_formatter(&|value| (self.x_label)(*value))
            .y_label_formatter(&|decade| micros_label(10_f64.powf(*decade)))
            .draw()?;
        Ok(chart)
    }
}

fn draw_percentiles<'a>(
    root: &Root<'a>,
    title: &str,
    series: &[Series<Vec<(f64, f64)>>],
) -> Drawn<'a> {
    let (x, y) = axes(series);
    let plane = Plane {
        title,
        x,
        y,
        x_title: "percentile of messages",
        y_title: "latency",
        x_label: |decade| quantile_label(decade as i32),
    };
    let mut chart = plane.draw(root)?;
    for line in series {
        let colour = line.colour;
        let points = line.values.iter();
        let points = points.map(|(inverse, us)| (inverse.log10(), us.log10()));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], colour.stroke_width(3)));
    }
    draw_names(&mut chart)
}

/// Points and no lines, as a slot without a time has no value.
fn draw_time_line<'a>(
    root: &Root<'a>,
    title: &str,
    series: &[Series<Vec<(f64, f64)>>],
) -> Drawn<'a> {
    let points = || series.iter().flat_map(|line| &line.values);
    let last = points().map(|point| point.0).fold(1.0, f64::max);
    let decades = points().map(|point| point.1.log10());
    let (lowest, highest) = decades.fold((2.0_f64, 3.0_f64), |(low, high), decade| {
        (low.min(decade), high.max(decade))
    });
    let highest = highest.ceil();
    let plane = Plane {
        title,
        x: seconds(last),
        y: whole(lowest.floor(), highest, highest + 0.1),
        x_title: "seconds of the measured windows",
        y_title: "slowest in 100 ms",
        x_label: |seconds| seconds.to_string(),
    };
    let mut chart = plane.draw(root)?;
    for line in series {
        let colour = line.colour;
        let points = line.values.iter();
        let dots =
            points.map(|(seconds, us)| Circle::new((*seconds, us.log10()), 2, colour.filled()));
        chart
            .draw_series(dots)?
            .label(&line.name)
            .legend(move |(x, y)| Circle::new((x + 7, y), 4, colour.filled()));
    }
    draw_names(&mut chart)
}

/// What each colour is.
fn draw_names<'a: 'b, 'b, X: Ranged<ValueType = f64>, Y: Ranged<ValueType = f64>>(
    chart: &mut ChartContext<'b, SVGBackend<'a>, Cartesian2d<X, Y>>,
) -> Drawn<'a> {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font((FONT, 14))
        .draw()
}

fn draw_bars<'a>(
    root: &Root<'a>,
    title: &str,
    unit: &str,
    groups: &[String],
    series: &[Series<Vec<f64>>],
) -> Drawn<'a> {
    let values = series.iter().flat_map(|bars| &bars.values).copied();
    let highest = values.fold(1.0, f64::max) * 1.15;
    let x = Axis {
        range: (0.0..groups.len() as f64).into(),
        labels: (0..groups.len()).map(|at| at as f64 + 0.5).collect(),
    };
    let mut chart = ChartBuilder::on(root)
        .caption(title, (FONT, 17))
        .margin(6)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(x, 0.0..highest)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("load")
        .y_desc(unit)
        .axis_desc_style((FONT, 14))
        .label_style((FONT, 13))
        .x_label_formatter(&|middle| groups.get(*middle as usize).cloned().unwrap_or_default())
        .y_label_formatter(&|value| grouped(value.round() as u64))
        .draw()?;
    let width = 0.7 / series.len().max(1) as f64;
    for (
        nth,
        Series {
            name,
            colour,
            values,
        },
    ) in series.iter().enumerate()
    {
        let colour = *colour;
        let left = |at: usize| at as f64 + 0.15 + width * nth as f64;
        let bars = values.iter().enumerate().map(|(at, value)| {
            Rectangle::new(
                [(left(at), 0.0), (left(at) + width * 0.94, *value)],
                colour.filled(),
            )
        });
        chart
            .draw_series(bars)?
            .label(name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 10, y + 5)], colour.filled()));
    }
    draw_names(&mut chart)
}

/// An axis from `first` to `end` with a label at each whole number up to `last`.
fn whole(first: f64, last: f64, end: f64) -> Axis {
    let labels = first as i32..=last as i32;
    Axis {
        range: (first..end).into(),
        labels: labels.map(f64::from).collect(),
    }
}

/// An axis from 0 with about ten labels.
fn seconds(last: f64) -> Axis {
    let step = (last / 10.0).ceil().max(1.0) as usize;
    Axis {
        range: (0.0..last).into(),
        labels: (0..=last as i32).step_by(step).map(f64::from).collect(),
    }
}

/// A linear axis with labels at given values.
struct Axis {
    range: RangedCoordf64,
    labels: Vec<f64>,
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.range.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.labels.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.range()
    }
}

/// 0 -> `0%`, 1 -> `90%`, 3 -> `99.9%`.
fn quantile_label(decade: i32) -> String {
    match decade {
        0 => "0%".to_owned(),
        1 => "90%".to_owned(),
        2 => "99%".to_owned(),
        more => format!("99.{}%", "9".repeat(more as usize - 2)),
    }
}

fn micros_label(us: f64) -> String {
    // Of a power of ten that was taken and undone.
    let us = (us * 1e3).round() / 1e3;
    if us < 1e3 {
        format!("{us} us")
    } else if us < 1e6 {
        format!("{} ms", us / 1e3)
    } else {
        format!("{} s", us / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_titles_and_labels() {
        assert_eq!(
            [0, 1, 2, 3, 5].map(quantile_label),
            ["0%", "90%", "99%", "99.9%", "99.999%"]
        );
        assert_eq!(
            [1.0, 100.0, 1e4, 1e6].map(micros_label),
            ["1 us", "100 us", "10 ms", "1 s"]
        );
        let line = Series {
            name: "sync <1>".to_owned(),
            colour: COLOURS[0],
            values: vec![(1.0, 50.0), (10.0, 90.0), (1000.0, 2_000.0)],
        };
        let plot = percentile_plot("t", &[line]);
        for text in [
            "percentile of messages",
            "latency",
            "10 us",
            "10 ms",
            "99.9%",
            "sync &lt;1&gt;",
        ] {
            assert!(plot.contains(text), "no {text} in {plot}");
        }
    }

    #[test]
    fn no_points_still_make_a_chart() {
        let empty = Series {
            name: "sync".to_owned(),
            colour: COLOURS[0],
            values: Vec::new(),
        };
        assert!(
            percentile_plot("empty", &[empty])
                .trim_end()
                .ends_with("</svg>")
        );
        assert!(time_line("empty", &[]).trim_end().ends_with("</svg>"));
        assert!(
            bar_chart("empty", "messages per second", &[], &[])
                .trim_end()
                .ends_with("</svg>")
        );
    }
}
