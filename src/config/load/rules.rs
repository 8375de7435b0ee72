//! Rules that cannot be read as they are written, so that the others are checked all the same.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Gives the first rule without a name one, so that the rest of it can be read; false if there is none.
pub(super) fn name_unnamed(table: &mut DeTable<'_>) -> bool {
    let Some((_, rules)) = table.iter_mut().find(|(key, _)| key.get_ref() == "rule") else { return false };
    let number_of = |at: usize| format!("unnamed-{}", at + 1);
    match rules.get_mut() {
        DeValue::Array(array) => {
            let mut items: Vec<_> = array.iter().cloned().collect();
            let unnamed = items.iter_mut().enumerate().find_map(|(at, rule)| match rule.get_mut() {
                DeValue::Table(rule) if rule.iter().all(|(key, _)| key.get_ref() != "name") => Some((at, rule)),
                _ => None,
            });
            let Some((at, rule)) = unnamed else { return false };
            name(rule, number_of(at));
            *array = items.into_iter().collect();
            true
        }
        DeValue::Table(rule) if rule.iter().all(|(key, _)| key.get_ref() != "name") => {
            name(rule, number_of(0));
            true
        }
        _ => false,
    }
}

fn name(rule: &mut DeTable<'_>, name: String) {
    rule.insert(Spanned::new(0..0, "name".into()), Spanned::new(0..0, DeValue::String(name.into())));
}

/// A path such as `rule.2.exit` in the table that was read, as it is in the whole: a rule before it may have been removed.
pub(super) fn written_path(whole: &Spanned<DeTable<'_>>, read: &Spanned<DeTable<'_>>, path: &str) -> String {
    let as_written = || {
        let (index, key) = path.strip_prefix("rule.")?.split_once('.')?;
        let span = rules_of(read)?.get(index.parse::<usize>().ok()?)?.span();
        let index = rules_of(whole)?.iter().position(|rule| rule.span() == span)?;
        Some(format!("rule.{index}.{key}"))
    };
    as_written().unwrap_or_else(|| path.into())
}

fn rules_of<'a, 'i>(table: &'a Spanned<DeTable<'i>>) -> Option<Vec<&'a Spanned<DeValue<'i>>>> {
    let (_, rules) = table.get_ref().iter().find(|(key, _)| key.get_ref() == "rule")?;
    match rules.get_ref() {
        DeValue::Array(array) => Some(array.iter().collect()),
        _ => None,
    }
}
