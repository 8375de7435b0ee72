//! Ways in which a state may become unsound.

use griffin::StateTensor;

use super::house::House;

/// Tokens of garbage, and of another language.
const READ: u64 = 50_000;
/// German, which the bundled model has never read.
const FOREIGN: [&str; 12] = [
    "Hast du heute Morgen schon die Zeitung aus dem Briefkasten geholt?",
    "Der Klempner kommt morgen um zehn Uhr, jemand muss zu Hause sein.",
    "Wir brauchen noch Milch, Eier und ein halbes Brot vom Bäcker.",
    "Die Kinder haben ihre Jacken wieder in der Schule vergessen.",
    "Kannst du bitte das Fenster im Schlafzimmer zumachen? Es zieht.",
    "Am Donnerstag habe ich einen Termin beim Zahnarzt.",
    "Das Essen ist gleich fertig, deckt ihr schon einmal den Tisch?",
    "Großmutter hat gestern angerufen und lässt euch alle herzlich grüßen.",
    "Wo habe ich nur meine Brille hingelegt? Eben war sie noch hier.",
    "Der Zug hat fast eine Stunde Verspätung, wir warten am Bahnhof.",
    "Nächste Woche soll es endlich wieder wärmer werden.",
    "Vergiss nicht, den Schlüssel unter die Matte zu legen.",
];

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) enum Poison {
    /// The recurrent leaves are so many times as large.
    Scaled(f32),
    /// They are noise of so many times their own size.
    Noise(f32),
    /// One of their values is no number.
    NotANumber,
    Garbage,
    Foreign,
}

impl Poison {
    pub(super) const ALL: [Self; 6] =
        [Self::Scaled(10.0), Self::Scaled(1e6), Self::Noise(100.0), Self::NotANumber, Self::Garbage, Self::Foreign];

    pub(super) fn name(self) -> String {
        match self {
            Self::Scaled(times) => format!("recurrent leaves ×{times}"),
            Self::Noise(times) => format!("recurrent leaves noise ×{times}"),
            Self::NotANumber => "a NaN in a recurrent leaf".into(),
            Self::Garbage => format!("{READ} tokens of garbage"),
            Self::Foreign => format!("{READ} tokens of German"),
        }
    }

    pub(super) fn apply(self, house: &mut House) -> anyhow::Result<()> {
        let mut noise = Noise(1);
        match self {
            Self::Scaled(times) => change(house, |values| values.iter_mut().for_each(|value| *value *= times)),
            Self::Noise(times) => change(house, |values| {
                let size = (values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32).sqrt();
                values.iter_mut().for_each(|value| *value = times * size * noise.next());
            }),
            Self::NotANumber => change(house, |values| values[0] = f32::NAN),
            Self::Garbage => {
                let word = |noise: &mut Noise| -> String {
                    (0..6).map(|_| char::from(b'a' + ((noise.next() + 1.0) * 12.99) as u8)).collect()
                };
                read_on(house, |_| (0..8).map(|_| word(&mut noise)).collect::<Vec<_>>().join(" "))
            }
            Self::Foreign => read_on(house, |at| FOREIGN[at * 7 % FOREIGN.len()].into()),
        }
    }
}

/// Numbers between −1 and 1 that look random.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Reads what may be, as any talk.
fn read_on(house: &mut House, mut text: impl FnMut(usize) -> String) -> anyhow::Result<()> {
    let until = house.read + READ;
    for at in 0.. {
        if house.read >= until {
            break;
        }
        house.say(&text(at))?;
    }
    Ok(())
}

/// Changes the values of every recurrent leaf.
fn change(house: &mut House, mut act: impl FnMut(&mut [f32])) -> anyhow::Result<()> {
    let mut tensors = house.reader.state().tensors();
    for StateTensor { bytes, .. } in tensors.iter_mut().filter(|tensor| tensor.name.ends_with(".h")) {
        let mut values: Vec<f32> = bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
        act(&mut values);
        *bytes = values.into_iter().flat_map(f32::to_le_bytes).collect();
    }
    let age = house.age();
    house.reader.restore_tensors(age, &tensors)?;
    Ok(())
}
