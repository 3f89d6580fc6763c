//! What was measured, as a table and a chart.

use std::fmt::Write as _;

use crate::{machine::Speed, servers::Kind};

/// What a measure is to come to.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtMost(f64),
    /// Of what stands beside it.
    AtMostTimes(f64),
    AtLeastTimes(f64),
    /// Told, without a target.
    None,
}

/// One measure of one kind of work, over all runs.
pub(crate) struct Row {
    work: String,
    measure: String,
    target: Target,
    ours: Vec<f64>,
    beside: Vec<f64>,
    in_chart: bool,
}

impl Row {
    fn reached(&self) -> Option<bool> {
        let ours = median(&self.ours)?;
        let ratio = median(&self.beside).map(|beside| ours / beside);
        match self.target {
            Target::AtMost(most) => Some(ours <= most),
            Target::AtMostTimes(most) => ratio.map(|ratio| ratio <= most),
            Target::AtLeastTimes(least) => ratio.map(|ratio| ratio >= least),
            Target::None => None,
        }
    }
}

/// All rows, in the order in which they were first told.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    /// Adds one run's value of a measure.
    pub(crate) fn add(
        &mut self,
        kind: Kind,
        work: &str,
        measure: &str,
        target: Target,
        value: f64,
    ) {
        let known = self
            .rows
            .iter()
            .position(|row| row.work == work && row.measure == measure);
        let at = known.unwrap_or_else(|| {
            let row = Row {
                work: work.to_owned(),
                measure: measure.to_owned(),
                target: Target::None,
                ours: Vec::new(),
                beside: Vec::new(),
                in_chart: false,
            };
            // Behind the other measures of this work.
            let last = self.rows.iter().rposition(|row| row.work == work);
            let at = last.map_or(self.rows.len(), |last| last + 1);
            self.rows.insert(at, row);
            at
        });
        let row = &mut self.rows[at];
        if !matches!(target, Target::None) {
            row.target = target;
        }
        match kind {
            Kind::Ours => row.ours.push(value),
            Kind::Baseline => row.beside.push(value),
        }
    }

    /// Shows a measure, of which less is better, in the chart too.
    pub(crate) fn chart(&mut self, work: &str, measure: &str) {
        for row in &mut self.rows {
            if row.work == work && row.measure == measure {
                row.in_chart = true;
            }
        }
    }

    /// The table in Markdown.
    pub(crate) fn table(&self) -> String {
        let mut table = "| work | measure | Roomkeeper | baseline | ratio | to reach | |\n\
                         | --- | --- | ---: | ---: | ---: | --- | --- |\n"
            .to_owned();
        let mut last = "";
        for row in &self.rows {
            let work = if row.work == last { "" } else { &row.work };
            last = &row.work;
            let (ours, beside) = (median(&row.ours), median(&row.beside));
            let ratio = ours
                .zip(beside)
                .filter(|(_, beside)| *beside != 0.0)
                .map_or(String::new(), |(ours, beside)| {
                    format!("{:.2}", ours / beside)
                });
            let target = match row.target {
                Target::AtMost(most) => format!("≤ {}", number(most)),
                Target::AtMostTimes(most) => format!("≤ {most} ×"),
                Target::AtLeastTimes(least) => format!("≥ {least} ×"),
                Target::None => String::new(),
            };
            let reached = match row.reached() {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "",
            };
            let show = |value: Option<f64>| value.map_or(String::new(), number);
            writeln!(
                table,
                "| {work} | {} | {} | {} | {ratio} | {target} | {reached} |",
                row.measure,
                show(ours),
                show(beside)
            )
            .unwrap();
        }
        table
    }

    /// The chart: for each row that is to be shown two bars, the longer one of which is
    /// all of the width.
    pub(crate) fn svg(&self) -> String {
        let rows: Vec<(&Row, f64, f64)> = self
            .rows
            .iter()
            .filter(|row| row.in_chart)
            .filter_map(|row| Some((row, median(&row.ours)?, median(&row.beside)?)))
            .collect();
        let (row_height, top, label_width, bar_width) = (54, 64, 330, 380);
        let height = top + row_height * rows.len() + 16;
        let width = label_width + bar_width + 110;
        let mut svg = format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="system-ui, sans-serif" font-size="13" role="img" aria-label="Roomkeeper beside a common Node server; shorter is better">
<rect width="{width}" height="{height}" fill="#ffffff"/>
<text x="16" y="24" font-size="16" font-weight="600" fill="#1e1e1e">Roomkeeper beside a common Node server: shorter is better</text>
<rect x="16" y="38" width="12" height="12" fill="#2563eb"/><text x="34" y="49" fill="#1e1e1e">Roomkeeper (stores, then tells)</text>
<rect x="250" y="38" width="12" height="12" fill="#9ca3af"/><text x="268" y="49" fill="#1e1e1e">baseline (tells, then stores)</text>
"##
        );
        for (i, (row, ours, beside)) in rows.iter().enumerate() {
            let y = top + i * row_height;
            let longest = ours.max(*beside).max(f64::MIN_POSITIVE);
            writeln!(
                svg,
                r##"<text x="16" y="{}" fill="#1e1e1e">{}</text><text x="16" y="{}" fill="#6b7280">{}</text>"##,
                y + 16,
                escape(&row.work),
                y + 33,
                escape(&row.measure)
            )
            .unwrap();
            for (value, color, offset) in [(*ours, "#2563eb", 4), (*beside, "#9ca3af", 22)] {
                let bar = (value / longest * f64::from(bar_width)).max(1.0);
                writeln!(
                    svg,
                    r##"<rect x="{label_width}" y="{}" width="{bar:.0}" height="15" fill="{color}"/><text x="{:.0}" y="{}" fill="#1e1e1e">{}</text>"##,
                    y + offset,
                    f64::from(label_width) + bar + 6.0,
                    y + offset + 12,
                    number(value)
                )
                .unwrap();
            }
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// The middle one; of an even number the lower one of the two.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

/// A number with three digits that count.
fn number(value: f64) -> String {
    if value >= 100.0 || value == 0.0 || value.fract() == 0.0 {
        let digits = format!("{value:.0}");
        let mut grouped = String::new();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i) % 3 == 0 {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        grouped
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// The machine's own speed, before and after.
pub(crate) fn speeds(before: Speed, after: Speed) -> String {
    let line = |name: &str, pick: fn(Speed) -> f64| {
        format!(
            "| {name} | {} | {} |\n",
            number(pick(before)),
            number(pick(after))
        )
    };
    format!(
        "| the machine itself | before | after |\n| --- | ---: | ---: |\n{}{}{}",
        line("one core, million steps/s", |speed| speed.one_core),
        line("two cores at once, million steps/s", |speed| speed
            .two_cores),
        line(
            "one byte there and back over loopback, per second",
            |speed| { speed.round_trips }
        ),
    )
}
