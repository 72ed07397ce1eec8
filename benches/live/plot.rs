//! Bar charts as SVG for the docs: legible on light and dark pages, without external resources.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 250.0;
const RIGHT: f64 = 150.0;
const ROW: f64 = 26.0;

/// A bar: a value and its observed range.
pub struct Bar {
    pub name: String,
    pub value: f64,
    pub low: f64,
    pub high: f64,
    /// The text beside it.
    pub label: String,
    /// Whether it shows this project's server.
    pub ours: bool,
}

/// Draws groups of bars under a title; each group has its own scale.
pub fn bars(title: &str, below: &str, groups: &[(String, Vec<Bar>)]) -> String {
    let rows: usize = groups.iter().map(|(_, bars)| bars.len() + 1).sum();
    let height = f64::from(u32::try_from(rows).expect("few")) * ROW + 84.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>{0}</title>\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"16\" font-weight=\"bold\">{0}</text>\n",
        escaped(title)
    );
    let mut y = 52.0;
    for (name, bars) in groups {
        let _ = writeln!(
            svg,
            "<text x=\"16\" y=\"{y}\" font-weight=\"bold\">{}</text>",
            escaped(name)
        );
        y += ROW;
        let most = bars.iter().map(|bar| bar.high).fold(f64::MIN_POSITIVE, f64::max);
        let scale = (WIDTH - LEFT - RIGHT) / most;
        for bar in bars {
            let fill = if bar.ours { "#1b7f5c" } else { "#8a94a6" };
            let (end, middle) = (LEFT + bar.high * scale, y - 4.5);
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{}</text>\n\
                 <rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"16\" fill=\"{fill}\"/>\n\
                 <path d=\"M{:.1} {middle}H{end:.1}\" stroke=\"#222\" stroke-width=\"1.5\"/>\n\
                 <text x=\"{:.1}\" y=\"{y}\">{}</text>",
                LEFT - 8.0,
                escaped(&bar.name),
                y - 12.5,
                bar.value * scale,
                LEFT + bar.low * scale,
                end + 8.0,
                escaped(&bar.label)
            );
            y += ROW;
        }
    }
    let _ = writeln!(
        svg,
        "<text x=\"16\" y=\"{:.1}\" font-size=\"11\" fill=\"#555\">{}</text>\n</svg>",
        y + 6.0,
        escaped(below)
    );
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
