//! Latency against throughput, as an SVG drawing.
//!
//! Written by hand: two axes, some lines and their names need no library, and the file is text that a
//! reader can check and a diff can show. Throughput is linear, latency logarithmic: p50 is a full line,
//! p99 a broken one.

use std::fmt::Write as _;

/// What one system did at some rates.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub name: String,
    /// In the order of the rates.
    pub points: Vec<Point>,
}

/// One measurement of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub throughput_per_s: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;

/// Colours that stay apart for colour-blind eyes (Okabe and Ito), and on paper by their order.
const COLOURS: [&str; 6] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
];

/// Where the axes begin and end.
struct Frame {
    x_max: f64,
    /// Powers of ten.
    y_min: i32,
    y_max: i32,
}

/// Draws the series under a title.
pub fn draw(title: &str, series: &[Series]) -> String {
    let frame = Frame::around(series);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    let mut line = |text: String| {
        let _ = writeln!(svg, "{text}");
    };
    line(text(WIDTH / 2.0, 24.0, "middle", title));
    frame.axes(&mut line);
    for (place, one) in series.iter().enumerate() {
        let colour = COLOURS[place % COLOURS.len()];
        line(frame.path(one, colour, "", |point| point.p50_ms));
        line(frame.path(one, colour, " stroke-dasharray=\"6 4\"", |p| p.p99_ms));
        for point in &one.points {
            for y in [point.p50_ms, point.p99_ms] {
                let (x, y) = (frame.x(point.throughput_per_s), frame.y(y));
                line(format!(
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
                ));
            }
        }
        let y = TOP + 8.0 + 18.0 * place as f64; // a handful
        let x = LEFT + 14.0;
        line(format!(
            "<line x1=\"{x}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            x + 24.0
        ));
        let name = format!("{} (p50; broken: p99)", one.name);
        line(text(x + 30.0, y + 4.0, "start", &name));
    }
    svg.push_str("</svg>\n");
    svg
}

impl Frame {
    fn around(series: &[Series]) -> Self {
        let points = || series.iter().flat_map(|one| &one.points);
        let x = points().map(|p| p.throughput_per_s).fold(1.0, f64::max);
        let times = || points().flat_map(|p| [p.p50_ms, p.p99_ms]);
        let low = times().filter(|t| *t > 0.0).fold(f64::INFINITY, f64::min);
        let high = times().fold(0.0, f64::max);
        let power = |value: f64| {
            if value.is_finite() && value > 0.0 {
                value.log10()
            } else {
                0.0
            }
        };
        let y_min = power(low).floor() as i32; // powers of ten of milliseconds
        Self {
            x_max: x * 1.05,
            y_min,
            y_max: (power(high).ceil() as i32).max(y_min + 1),
        }
    }

    fn x(&self, throughput: f64) -> f64 {
        LEFT + throughput / self.x_max * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, ms: f64) -> f64 {
        let power = ms.max(10f64.powi(self.y_min)).log10();
        let share = (power - f64::from(self.y_min)) / f64::from(self.y_max - self.y_min);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }

    fn axes(&self, line: &mut dyn FnMut(String)) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for power in self.y_min..=self.y_max {
            let ms = 10f64.powi(power);
            let y = self.y(ms);
            line(rule(LEFT, y, right, y, "#ddd"));
            line(text(LEFT - 8.0, y + 4.0, "end", &format!("{ms}")));
        }
        let step = step(self.x_max);
        let mut at = 0.0;
        while at <= self.x_max {
            let x = self.x(at);
            line(rule(x, TOP, x, bottom, "#eee"));
            line(text(x, bottom + 20.0, "middle", &format!("{at}")));
            at += step;
        }
        line(rule(LEFT, TOP, LEFT, bottom, "black"));
        line(rule(LEFT, bottom, right, bottom, "black"));
        line(text(
            (LEFT + right) / 2.0,
            HEIGHT - 14.0,
            "middle",
            "committed transactions a second",
        ));
        line(text(12.0, TOP - 14.0, "start", "latency, ms"));
    }

    fn path(&self, series: &Series, colour: &str, dashes: &str, of: fn(&Point) -> f64) -> String {
        let places: Vec<String> = series
            .points
            .iter()
            .map(|point| {
                format!(
                    "{:.1},{:.1}",
                    self.x(point.throughput_per_s),
                    self.y(of(point))
                )
            })
            .collect();
        format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>",
            places.join(" ")
        )
    }
}

/// 1, 2 or 5 times a power of ten, so that there are at most ten marks.
fn step(max: f64) -> f64 {
    let power = 10f64.powf((max / 10.0).log10().floor());
    for times in [1.0, 2.0, 5.0] {
        if max / (times * power) <= 10.0 {
            return times * power;
        }
    }
    10.0 * power
}

fn rule(x1: f64, y1: f64, x2: f64, y2: f64, colour: &str) -> String {
    format!(
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>"
    )
}

fn text(x: f64, y: f64, anchor: &str, text: &str) -> String {
    let escaped = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{escaped}</text>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faster_is_to_the_right_and_slower_answers_are_higher() {
        let point = |throughput_per_s, p50_ms| Point {
            throughput_per_s,
            p50_ms,
            p99_ms: 3.0 * p50_ms,
        };
        let series = Series {
            name: "a < b".into(),
            points: vec![point(1_000.0, 2.0), point(20_000.0, 40.0)],
        };
        let frame = Frame::around(std::slice::from_ref(&series));
        assert_eq!((frame.y_min, frame.y_max), (0, 3));
        assert!(frame.x(1_000.0) < frame.x(20_000.0));
        assert!(frame.x(20_000.0) <= WIDTH - RIGHT);
        assert!(frame.y(40.0) < frame.y(2.0));
        assert!((frame.y(1.0) - (HEIGHT - BOTTOM)).abs() < 0.01);
        let svg = draw("transfers", &[series]);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches("<circle").count(), 4);
        assert!(svg.contains("a &lt; b"), "{svg}");
    }

    #[test]
    fn there_are_at_most_ten_marks() {
        for (max, expected) in [
            (9.0, 1.0),
            (19_000.0, 2_000.0),
            (40_000.0, 5_000.0),
            (99.0, 10.0),
        ] {
            assert_eq!(step(max), expected);
        }
    }

    #[test]
    fn nothing_measured_is_an_empty_frame() {
        assert!(draw("none", &[]).ends_with("</svg>\n"));
    }
}
