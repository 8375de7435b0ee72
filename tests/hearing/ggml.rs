//! Makes models with other quantizations, shapes and languages of the bundled one, in the file format that whisper.cpp's tools write.

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device};

/// Positions in the header, counted from the magic number: `n_vocab`, then `n_{audio,text}_{ctx,state,head,layer}`, `n_mels`, `ftype`.
const VOCABULARY: usize = 0;
const STATES: [usize; 2] = [2, 6];
const HEADS: [usize; 2] = [3, 7];
const LAYERS: [usize; 2] = [4, 8];
const FORM: usize = 10;

/// The first token after the text tokens of an English-only model. A multilingual model has one text token more.
const END_OF_TEXT: usize = 50_256;

/// How weights are held: ggml's number for the type, and for a file of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Form {
    F16,
    Q5_1,
    Q8_0,
}

impl Form {
    fn tensor(self) -> u32 {
        match self {
            Self::F16 => 1,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
        }
    }

    fn file(self) -> u32 {
        match self {
            Self::F16 => 1,
            Self::Q5_1 => 2_009,
            Self::Q8_0 => 2_007,
        }
    }
}

#[derive(Clone)]
pub(crate) struct Tensor {
    name: Vec<u8>,
    shape: Vec<u32>,
    kind: u32,
    data: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct Ggml {
    header: [u32; 11],
    /// Mel filters and vocabulary, as they lie in the file.
    front: Vec<u8>,
    tensors: Vec<Tensor>,
}

/// Takes bytes off the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn int(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }
}

fn size(kind: u32, shape: &[u32]) -> usize {
    let elements = shape.iter().map(|n| *n as usize).product::<usize>();
    match kind {
        0 => elements * 4,
        1 => elements * 2,
        7 => elements / 32 * 24,
        8 => elements / 32 * 34,
        other => panic!("no type {other} in these tests"),
    }
}

impl Ggml {
    pub(crate) fn read(file: &[u8]) -> Self {
        let mut bytes = Bytes(&file[4..]);
        let header = std::array::from_fn(|_| bytes.int());
        let front = bytes.0;
        let [mels, bins] = [bytes.int(), bytes.int()];
        bytes.take((mels * bins * 4) as usize);
        for _ in 0..bytes.int() {
            let length = bytes.int() as usize;
            bytes.take(length);
        }
        let front = front[..front.len() - bytes.0.len()].to_vec();
        let mut tensors = Vec::new();
        while !bytes.0.is_empty() {
            let [dimensions, name, kind] = [bytes.int(), bytes.int(), bytes.int()];
            let shape: Vec<u32> = (0..dimensions).map(|_| bytes.int()).collect();
            let name = bytes.take(name as usize).to_vec();
            let data = bytes.take(size(kind, &shape)).to_vec();
            tensors.push(Tensor { name, shape, kind, data });
        }
        Self { header, front, tensors }
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut file = b"lmgg".to_vec();
        file.extend(self.header.iter().flat_map(|n| n.to_le_bytes()));
        file.extend(&self.front);
        for Tensor { name, shape, kind, data } in &self.tensors {
            assert_eq!(data.len(), size(*kind, shape));
            let head = [shape.len() as u32, name.len() as u32, *kind];
            file.extend(head.iter().chain(shape).flat_map(|n| n.to_le_bytes()));
            file.extend(name);
            file.extend(data);
        }
        file
    }

    /// The same weights in another quantization.
    pub(crate) fn held_as(mut self, form: Form) -> Self {
        self.header[FORM] = form.file();
        for tensor in self.tensors.iter_mut().filter(|tensor| tensor.kind == Form::Q5_1.tensor()) {
            let shape: Vec<usize> = tensor.shape.iter().rev().map(|n| *n as usize).collect();
            let stored = QStorage::from_data(tensor.data.as_slice().into(), &Device::Cpu, GgmlDType::Q5_1).unwrap();
            let plain = QTensor::new(stored, shape).unwrap().dequantize(&Device::Cpu).unwrap();
            tensor.kind = form.tensor();
            tensor.data = match form {
                Form::F16 => {
                    let halves = plain.to_dtype(DType::F16).unwrap().flatten_all().unwrap().to_vec1::<half::f16>();
                    halves.unwrap().iter().flat_map(|value| value.to_le_bytes()).collect()
                }
                Form::Q8_0 => QTensor::quantize(&plain, GgmlDType::Q8_0).unwrap().data().unwrap().into_owned(),
                Form::Q5_1 => continue,
            };
        }
        self
    }

    /// A multilingual model, which has one token more than an English-only one. It detects the language with the index `surely` for any
    /// audio: the language's token gets the embedding of the timestamp 0, with which this model always begins.
    pub(crate) fn of_all_languages(mut self, surely: usize) -> Self {
        self.header[VOCABULARY] += 1;
        let tokens = self.tensor("decoder.token_embedding.weight");
        tokens.shape[1] += 1;
        let row = size(tokens.kind, &tokens.shape[..1]);
        let at = END_OF_TEXT * row;
        tokens.data.splice(at..at, vec![0; row]);
        // In order: end of text, start of transcript, 99 languages, translate, transcribe, 4 others, and the times.
        let languages = END_OF_TEXT + 3;
        let times = END_OF_TEXT + 3 + 99 + 6;
        let time = tokens.data[times * row..][..row].to_vec();
        tokens.data[(languages + surely) * row..][..row].copy_from_slice(&time);
        self
    }

    /// A model of another width and depth, with all weights zero.
    pub(crate) fn of_shape(mut self, width: u32, heads: u32, layers: u32, form: Form) -> Self {
        let was = self.header[STATES[0]];
        let scaled = |n: u32| if n == was || n == 4 * was { n / was * width } else { n };
        for (at, value) in [(STATES, width), (HEADS, heads), (LAYERS, layers)] {
            at.iter().for_each(|at| self.header[*at] = value);
        }
        self.header[FORM] = form.file();
        let mut tensors = Vec::new();
        for tensor in &self.tensors {
            let name = std::str::from_utf8(&tensor.name).unwrap();
            let kind = if tensor.kind == Form::Q5_1.tensor() { form.tensor() } else { tensor.kind };
            let shape: Vec<u32> = tensor.shape.iter().map(|n| scaled(*n)).collect();
            let names = match name.split_once("blocks.0.") {
                Some((before, behind)) => (0..layers).map(|layer| format!("{before}blocks.{layer}.{behind}")).collect(),
                None if name.contains("blocks.") => Vec::new(),
                None => vec![name.to_owned()],
            };
            tensors.extend(names.into_iter().map(|name| Tensor {
                name: name.into_bytes(),
                shape: shape.clone(),
                kind,
                data: vec![0; size(kind, &shape)],
            }));
        }
        self.tensors = tensors;
        self
    }

    fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name.as_bytes()).unwrap()
    }
}
