//! Two configs in one: the settings of the second count where both have them.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Puts the entries of `over` into `table`. Tables are merged; of anything else, such as a list of rules, the one in `over` is taken.
pub(super) fn put_over<'i>(table: &mut DeTable<'i>, over: DeTable<'i>) {
    for (key, value) in over {
        let span = value.span();
        let merged = match (table.remove(&key).map(Spanned::into_inner), value.into_inner()) {
            (Some(DeValue::Table(mut below)), DeValue::Table(above)) => {
                put_over(&mut below, above);
                DeValue::Table(below)
            }
            (_, above) => above,
        };
        table.insert(key, Spanned::new(span, merged));
    }
}
