//! Two charts as inline SVG, coloured by the page's style sheet so that they follow light and dark.

use std::fmt::Write;

/// One line of a percentile plot, or one bar of each group.
pub struct Series<T> {
    pub name: String,
    /// Class in the style sheet that gives the colour.
    pub class: &'static str,
    pub values: T,
}

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 42.0;

/// Latency by percentile, both axes logarithmic: `values` are (1 / (1 - quantile), microseconds).
pub fn percentile_plot(title: &str, series: &[Series<Vec<(f64, f64)>>]) -> String {
    let all = || series.iter().flat_map(|line| &line.values);
    let x_decades = all()
        .map(|point| point.0.log10())
        .fold(2.0, f64::max)
        .ceil();
    let lowest = all()
        .map(|point| point.1.log10())
        .fold(f64::INFINITY, f64::min);
    let highest = all()
        .map(|point| point.1.log10())
        .fold(f64::NEG_INFINITY, f64::max);
    let (low, high) = if lowest.is_finite() {
        (lowest.floor(), highest.ceil().max(lowest.floor() + 1.0))
    } else {
        (0.0, 1.0)
    };
    let x = |inverse: f64| LEFT + inverse.log10() / x_decades * (WIDTH - LEFT - RIGHT);
    let y = |us: f64| HEIGHT - BOTTOM - (us.log10() - low) / (high - low) * (HEIGHT - TOP - BOTTOM);

    let mut svg = open(title);
    for decade in 0..=x_decades as i32 {
        let at = x(10f64.powi(decade));
        vertical(&mut svg, at, &quantile_label(decade));
    }
    for decade in low as i32..=high as i32 {
        horizontal(
            &mut svg,
            y(10f64.powi(decade)),
            &micros_label(10f64.powi(decade)),
        );
    }
    for line in series.iter().filter(|line| !line.values.is_empty()) {
        let points: Vec<String> = line
            .values
            .iter()
            .map(|&(inverse, us)| format!("{:.1},{:.1}", x(inverse), y(us)))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline class=\"line {}\" points=\"{}\"/>",
            line.class,
            points.join(" ")
        );
    }
    legend(&mut svg, series);
    svg.push_str("</svg>\n");
    svg
}

/// Groups of bars on a linear axis from zero; `values` hold one bar for each group.
pub fn bar_chart(
    title: &str,
    groups: &[String],
    series: &[Series<Vec<f64>>],
    label: fn(f64) -> String,
) -> String {
    let highest = series
        .iter()
        .flat_map(|bars| &bars.values)
        .copied()
        .fold(1.0, f64::max);
    let step = nice_step(highest / 5.0);
    let top_value = (highest / step).ceil() * step;
    let y = |value: f64| HEIGHT - BOTTOM - value / top_value * (HEIGHT - TOP - BOTTOM);
    let group_width = (WIDTH - LEFT - RIGHT) / groups.len().max(1) as f64;
    let bar_width = group_width * 0.7 / series.len().max(1) as f64;

    let mut svg = open(title);
    let mut tick = 0.0;
    while tick <= top_value * 1.0001 {
        horizontal(&mut svg, y(tick), &label(tick));
        tick += step;
    }
    for (at, group) in groups.iter().enumerate() {
        let start = LEFT + group_width * at as f64 + group_width * 0.15;
        for (nth, bars) in series.iter().enumerate() {
            let value = bars.values.get(at).copied().unwrap_or(0.0);
            let _ = writeln!(
                svg,
                "<rect class=\"bar {}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}: {}</title></rect>",
                bars.class,
                start + bar_width * nth as f64,
                y(value),
                bar_width * 0.94,
                (HEIGHT - BOTTOM - y(value)).max(0.0),
                escaped(&bars.name),
                escaped(&label(value)),
            );
        }
        text(
            &mut svg,
            start + group_width * 0.35,
            HEIGHT - BOTTOM + 16.0,
            "middle",
            group,
        );
    }
    legend(&mut svg, series);
    svg.push_str("</svg>\n");
    svg
}

/// Text that is safe between tags and inside a quoted attribute.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            other => safe.push(other),
        }
    }
    safe
}

fn open(title: &str) -> String {
    let title = escaped(title);
    let mut svg =
        format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n");
    let _ = writeln!(
        svg,
        "<text class=\"title\" x=\"{LEFT}\" y=\"16\">{title}</text>"
    );
    svg
}

fn vertical(svg: &mut String, x: f64, label: &str) {
    let bottom = HEIGHT - BOTTOM;
    let _ = writeln!(svg, "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/>");
    text(svg, x, bottom + 16.0, "middle", label);
}

fn horizontal(svg: &mut String, y: f64, label: &str) {
    let right = WIDTH - RIGHT;
    let _ = writeln!(svg, "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>");
    text(svg, LEFT - 6.0, y + 4.0, "end", label);
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
        escaped(text)
    );
}

fn legend<T>(svg: &mut String, series: &[Series<T>]) {
    let mut x = LEFT;
    let y = HEIGHT - 6.0;
    for entry in series {
        let _ = writeln!(
            svg,
            "<rect class=\"bar {}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"10\" height=\"10\"/>",
            entry.class,
            y - 9.0
        );
        text(svg, x + 14.0, y, "start", &entry.name);
        x += 34.0 + 7.0 * entry.name.chars().count() as f64;
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
    if us < 1e3 {
        format!("{us} us")
    } else if us < 1e6 {
        format!("{} ms", us / 1e3)
    } else {
        format!("{} s", us / 1e6)
    }
}

/// The next of 1, 2, 5, 10, 20, 50, ...
fn nice_step(at_least: f64) -> f64 {
    let power = 10f64.powf(at_least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= at_least * 0.9999)
        .unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_labelled_in_their_own_words() {
        assert_eq!(
            [0, 1, 2, 3, 5].map(quantile_label),
            ["0%", "90%", "99%", "99.9%", "99.999%"]
        );
        assert_eq!(
            [1.0, 100.0, 1e4, 1e6].map(micros_label),
            ["1 us", "100 us", "10 ms", "1 s"]
        );
        assert_eq!(
            [0.7, 1.0, 3.0, 60.0, 90.0].map(nice_step),
            [1.0, 1.0, 5.0, 100.0, 100.0]
        );
    }

    #[test]
    fn no_points_still_make_a_chart() {
        let empty = [Series {
            name: "sync".to_owned(),
            class: "sync",
            values: Vec::new(),
        }];
        assert!(percentile_plot("empty", &empty).ends_with("</svg>\n"));
    }
}
