//! A draft as TOML.

use super::Draft;
use derm_preprocess::{ChannelOrder, Filter, Fit, Layout};
use std::fmt::Write;

impl Draft {
    /// TOML with a comment behind each value.
    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, to: &mut String) -> std::fmt::Result {
        let guesses = self.guesses();
        if guesses > 0 {
            writeln!(
                to,
                "# Draft: {guesses} values marked CHECK are guesses. Compare with the training code, then"
            )?;
            writeln!(to, "# derm-server --check --against FILE.csv")?;
        }
        writeln!(to, "name = {}", quoted(&self.name))?;
        writeln!(to, "version = \"1\"")?;
        writeln!(to, "provenance = \"\"  # CHECK: who trained it, on what")?;
        writeln!(to, "output = {}{}", quoted(self.output.value), self.output.comment())?;
        if let Some(name) = &self.output_name {
            writeln!(to, "output_name = {}{}", quoted(&name.value), name.comment())?;
        }
        writeln!(to, "\n[input]")?;
        writeln!(to, "height = {}{}", self.height.value, self.height.comment())?;
        writeln!(to, "width = {}{}", self.width.value, self.width.comment())?;
        let layout = match self.layout.value {
            Layout::Nchw => "nchw",
            Layout::Nhwc => "nhwc",
        };
        writeln!(to, "layout = \"{layout}\"{}", self.layout.comment())?;
        let channels = match self.channels.value {
            ChannelOrder::Rgb => "rgb",
            ChannelOrder::Bgr => "bgr",
            ChannelOrder::Grey => "grey",
        };
        writeln!(to, "channels = \"{channels}\"{}", self.channels.comment())?;
        writeln!(to, "scale = {:?}{}", self.scale.value, self.scale.comment())?;
        writeln!(to, "mean = {}{}", numbers(&self.mean.value), self.mean.comment())?;
        writeln!(to, "std = {}{}", numbers(&self.std.value), self.std.comment())?;
        let filter = match self.filter.value {
            Filter::Bilinear => "bilinear",
            Filter::Bicubic => "bicubic",
        };
        writeln!(to, "filter = \"{filter}\"{}", self.filter.comment())?;
        let fit = match self.fit.value {
            Fit::Stretch => "\"stretch\"".to_owned(),
            Fit::CropShortestSide(side) => format!("{{ crop_shortest_side = {side} }}"),
        };
        writeln!(to, "fit = {fit}{}", self.fit.comment())?;
        writeln!(to, "\n# The classes, in the order of the output.{}", self.classes.comment())?;
        for class in &self.classes.value {
            writeln!(to, "[[classes]]\nid = {}\n", quoted(class))?;
        }
        Ok(())
    }

    fn guesses(&self) -> usize {
        let guesses = [
            self.output.is_guess,
            self.height.is_guess,
            self.width.is_guess,
            self.layout.is_guess,
            self.channels.is_guess,
            self.scale.is_guess,
            self.mean.is_guess,
            self.std.is_guess,
            self.filter.is_guess,
            self.fit.is_guess,
            self.classes.is_guess,
        ];
        guesses.into_iter().filter(|&is_guess| is_guess).count()
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn numbers(values: &[f32; 3]) -> String {
    let shown: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("[{}]", shown.join(", "))
}
