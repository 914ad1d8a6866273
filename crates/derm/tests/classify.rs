//! The public API, on a network of the zoo.

#![allow(clippy::unwrap_used, missing_docs)]

use derm::{
    Classifier, Drawing, Error, Explain, Layer, Limits, Method, ModelSource, Options, Reload,
    Rendering, Report, Request, Size,
};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

fn classifier(options: Options) -> Classifier {
    let entry = derm_zoo::entry("mobilenetv2.opset13").unwrap();
    let source = ModelSource::at(entry.make(&derm_zoo::folder()).unwrap());
    Classifier::new(source, options).unwrap()
}

fn picture() -> Vec<u8> {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../derm-preprocess/tests/data");
    std::fs::read(format!("{data}/baseline.jpg")).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

fn explaining(explain: Explain) -> Request {
    Request::default().with_explain(explain)
}

fn classify(classifier: &Classifier, bytes: &[u8], request: &Request) -> Result<Report, Error> {
    classifier.classify(&classifier.open(bytes)?, request, soon())
}

fn decoded(rendering: &Rendering) -> image::DynamicImage {
    let Rendering::Png(file) = rendering else { panic!("{rendering:?}") };
    image::load_from_memory(file).unwrap()
}

#[test]
fn a_hundred_first_requests_load_once_and_agree() {
    let (classifier, picture) = (classifier(Options::default()), picture());
    assert!(!classifier.is_loaded());
    let answers: Vec<_> = std::thread::scope(|scope| {
        let ask = || classify(&classifier, &picture, &Request::default()).unwrap().predictions;
        let handles: Vec<_> = (0..100).map(|_| scope.spawn(ask)).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    assert_eq!(classifier.times_loaded(), 1);
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let sum: f32 = answers[0].iter().map(|p| p.probability).sum();
    assert!((sum - 1.0).abs() < 1e-5);
    assert!(answers[0].is_sorted_by(|a, b| a.probability >= b.probability));
}

#[test]
fn a_check_refuses_scores_that_are_not_what_the_manifest_says() {
    let folder = tempfile::tempdir().unwrap();
    let operators = derm_zoo::operators().unwrap();
    let linear = operators.iter().find(|operator| operator.name == "linear").unwrap();
    let model = linear.make(folder.path()).unwrap();
    let check = || Classifier::new(ModelSource::at(&model), Options::default()).unwrap().check();
    assert_eq!(check().unwrap().notes, Vec::<String>::new());
    let path = model.join("model.toml");
    let manifest = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, manifest.replace("\"logits\"", "\"softmax\"")).unwrap();
    let message = check().unwrap_err().to_string();
    assert!(message.contains("does it end in logits?"), "{message}");
}

#[test]
fn the_heatmap_is_a_picture_of_the_input_size_and_depends_on_the_class() {
    let (classifier, picture) = (classifier(Options::default()), picture());
    let draw = |explain: Explain| {
        let report = classify(&classifier, &picture, &explaining(explain)).unwrap();
        let explanation = report.explanations.unwrap().unwrap().remove(0);
        (explanation.class, decoded(&explanation.rendering))
    };
    let of = |class: &str| Explain::default().with_classes([class]);
    let (class, first) = draw(of("c1"));
    assert_eq!((class.as_str(), first.width(), first.height()), ("c1", 224, 224));
    assert_ne!(first, draw(of("2")).1);
    let alone = draw(of("c1").with_drawing(Drawing::Heatmap)).1;
    assert!(alone.color().has_alpha());
    let layer = Layer::Named("/blocks/blocks.5/blocks.5.2/Add_output_0".to_owned());
    assert_ne!(first, draw(of("c1").with_layer(layer)).1);
}

#[test]
fn every_method_explains_several_classes_of_one_request() {
    let (classifier, picture) = (classifier(Options::default()), picture());
    let quick = |method: &Method| !matches!(method, Method::ScoreCam);
    let mut seen: Vec<derm::Heatmap> = Vec::new();
    for method in Method::ALL.into_iter().filter(quick) {
        let explain = Explain::new(method).with_classes(["c1", "3"]);
        let report = classify(&classifier, &picture, &explaining(explain)).unwrap();
        let explanations = report.explanations.unwrap().unwrap();
        let [first, second] = &explanations[..] else { panic!("two classes") };
        assert_eq!([&first.class, &second.class], ["c1", "c3"]);
        assert_eq!(first.heatmap == second.heatmap, method == Method::EigenCam, "{method:?}");
        let side = if method.is_of_input() { 224 } else { 7 };
        assert_eq!(first.heatmap.values().dim(), (side, side));
        assert!(!seen.contains(&first.heatmap), "{method:?} is another one's");
        seen.push(first.heatmap.clone());
    }
}

/// Of a picture of 320x240 the network sees the middle three quarters of the width.
#[test]
fn a_heatmap_of_the_uploads_size_lies_where_the_network_looked() {
    let classifier = classifier(Options::default());
    let original = image::RgbImage::from_fn(320, 240, |x, y| {
        image::Rgb([x as u8, y as u8, if x + 2 * y < 300 { 250 } else { 20 }])
    });
    let mut png = std::io::Cursor::new(Vec::new());
    original.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let draw = |picture: &[u8], drawing: Drawing| {
        let explain = Explain::default().with_drawing(drawing).with_size(Size::Upload);
        let request = explaining(explain.clone());
        let plain = explaining(explain.with_size(Size::Input));
        let opened = classifier.open(picture).unwrap();
        let needed = |request: &Request| classifier.cost(&opened, request).unwrap().picture;
        assert!(needed(&request) > needed(&plain));
        let report = classifier.classify(&opened, &request, soon()).unwrap();
        decoded(&report.explanations.unwrap().unwrap().remove(0).rendering)
    };
    let overlay = draw(png.get_ref(), Drawing::Overlay).into_rgb8();
    let heatmap = draw(png.get_ref(), Drawing::Heatmap).into_rgba8();
    assert_eq!((overlay.dimensions(), heatmap.dimensions()), ((320, 240), (320, 240)));
    let is_as_it_was = |x: u32, y: u32| overlay.get_pixel(x, y) == original.get_pixel(x, y);
    assert!((0..240).all(|y| (0..40).chain(280..320).all(|x| is_as_it_was(x, y))));
    assert!((0..240).any(|y| (40..280).any(|x| !is_as_it_was(x, y))));
    let opacity = |x: u32, y: u32| heatmap.get_pixel(x, y).0[3];
    assert!((0..240).all(|y| opacity(39, y) == 0 && opacity(280, y) == 0));
    assert!((0..240).any(|y| (40..280).any(|x| opacity(x, y) == 255)));
    // A JPEG is decoded row by row for that, too.
    assert_eq!(draw(&picture(), Drawing::Mask).width(), 320);
}

#[test]
fn layers_go_by_name_and_number() {
    let (classifier, picture) = (classifier(Options::default()), picture());
    let layers = classifier.describe(soon()).unwrap().layers;
    assert!(layers.len() > 50, "{}", layers.len());
    let index = layers.iter().position(|layer| layer.shape.ends_with(&[28, 28])).unwrap();
    let map = |name: &str| {
        let layer = Layer::Named(name.to_owned());
        let request = explaining(Explain::default().with_layer(layer));
        let report = classify(&classifier, &picture, &request).unwrap();
        let opened = classifier.open(&picture).unwrap();
        let arenas = |request: &Request| classifier.cost(&opened, request).unwrap().arenas.unwrap();
        assert_eq!(arenas(&Request::default()), classifier.footprint().unwrap().arena as u64);
        assert!(arenas(&request) > arenas(&Request::default()));
        report.explanations.unwrap().unwrap().remove(0).heatmap
    };
    let by_name = map(&layers[index].name);
    assert_eq!(by_name.values().dim(), (28, 28));
    assert_eq!(by_name, map(&index.to_string()));
}

#[test]
fn a_smoothed_heatmap_turns_with_the_picture() {
    let classifier = classifier(Options::default());
    let drawn = image::RgbImage::from_fn(224, 224, |x, y| {
        image::Rgb([x as u8, (y / 2) as u8, if x + 2 * y < 200 { 250 } else { 20 }])
    });
    let ask = |picture: &image::RgbImage, smooth: usize| {
        let mut png = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
        let explain = Explain::default().with_smooth(smooth).with_classes(["c2"]);
        let report = classify(&classifier, png.get_ref(), &explaining(explain)).unwrap();
        report.explanations.unwrap().unwrap().remove(0).heatmap.values().clone()
    };
    let mirrored = image::imageops::flip_horizontal(&drawn);
    let far = |smooth: usize| {
        let mut back = ask(&mirrored, smooth);
        back.invert_axis(ndarray::Axis(1));
        (&ask(&drawn, smooth) - &back).iter().fold(0f32, |most, d| most.max(d.abs()))
    };
    assert!(far(1) > 1e-2, "the network itself does tell: {}", far(1));
    assert!(far(8) < 1e-4, "{}", far(8));
}

#[test]
fn names_that_the_model_lacks_are_parameter_errors() {
    let (classifier, picture) = (classifier(Options::default()), picture());
    let refused = |explain: Explain| match classify(&classifier, &picture, &explaining(explain))
        .unwrap_err()
    {
        Error::Parameter { name, .. } => name,
        other => panic!("{other}"),
    };
    assert_eq!(refused(Explain::default().with_classes(["c1", "melanom"])), "class");
    let layer = Layer::Named("nowhere".to_owned());
    assert_eq!(refused(Explain::default().with_layer(layer)), "layer");
}

#[test]
fn a_model_that_cannot_be_explained_predicts_and_says_why() {
    let source = ModelSource::at(derm_zoo::make_unexplained(&derm_zoo::folder()).unwrap());
    let classifier = Classifier::new(source, Options::default()).unwrap();
    let report = classify(&classifier, &picture(), &explaining(Explain::default())).unwrap();
    assert_eq!(report.predictions.len(), 7);
    assert!(report.explanations.unwrap().unwrap_err().to_string().contains("operator Cos"));
    assert!(classifier.check().unwrap().unexplained.is_some());
}

#[test]
fn test_time_augmentation_sees_a_flipped_picture_as_the_same() {
    let classifier = classifier(Options::default());
    let drawn = image::RgbImage::from_fn(224, 224, |x, y| {
        image::Rgb([x as u8, (y / 2) as u8, if x + 2 * y < 200 { 250 } else { 20 }])
    });
    let ask = |picture: &image::RgbImage, tta: usize| {
        let mut png = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
        let request = Request::default().with_tta(tta);
        let mut answer = classify(&classifier, png.get_ref(), &request).unwrap().predictions;
        answer.sort_by_key(|prediction| prediction.index);
        answer.iter().map(|prediction| prediction.probability).collect::<Vec<f32>>()
    };
    let far =
        |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let flipped = image::imageops::rotate90(&image::imageops::flip_vertical(&drawn));
    assert!(far(&ask(&drawn, 1), &ask(&flipped, 1)) > 1e-3, "the network itself does tell");
    assert!(far(&ask(&drawn, 8), &ask(&flipped, 8)) < 1e-5);
    assert_eq!(ask(&drawn, 0), ask(&drawn, 1));
    let request = Request::default().with_tta(9);
    let error = classify(&classifier, &picture(), &request).unwrap_err();
    assert!(matches!(error, Error::Parameter { name: "tta", .. }), "{error}");
}

#[test]
fn it_reloads_after_its_uses_and_unloads_when_told() {
    let reload = Reload { uses: NonZeroUsize::new(3).unwrap(), jitter: 0 };
    let (classifier, picture) = (classifier(Options::default().with_reload(reload)), picture());
    for _ in 0..7 {
        classify(&classifier, &picture, &Request::default()).unwrap();
    }
    assert_eq!(classifier.times_loaded(), 3);
    classifier.unload();
    assert!(!classifier.is_loaded());
}

#[test]
fn limits_and_deadlines_come_first() {
    let limits = Limits { max_pixels: 10, ..Limits::default() };
    let (limited, picture) = (classifier(Options::default().with_limits(limits)), picture());
    let error = classify(&limited, &picture, &Request::default()).unwrap_err();
    assert!(matches!(error, Error::Picture(derm::PictureError::TooManyPixels { .. })), "{error}");
    assert!(!limited.is_loaded());

    let limits = Limits { max_memory: 10, ..Limits::default() };
    let limited = self::classifier(Options::default().with_limits(limits));
    let opened = limited.open(&picture).unwrap();
    let error = limited.cost(&opened, &Request::default()).unwrap_err();
    assert!(matches!(error, Error::Picture(derm::PictureError::TooMuchMemory { .. })), "{error}");
    let error = limited.classify(&opened, &Request::default(), Instant::now()).unwrap_err();
    assert!(matches!(error, Error::TimedOut), "{error}");
    assert!(!limited.is_loaded());
}

#[test]
fn a_kept_canvas_draws_later_what_the_request_would_have_drawn() {
    let (classifier, bytes) = (classifier(Options::default()), picture());
    for size in [Size::Input, Size::Upload] {
        for drawing in [Drawing::Overlay, Drawing::Heatmap, Drawing::Mask] {
            let now = Explain::default().with_size(size).with_drawing(drawing).with_contour(0.5);
            let report = classify(&classifier, &bytes, &explaining(now.clone())).unwrap();
            assert!(report.canvas.is_none());
            let expected = &report.explanations.unwrap().unwrap()[0].rendering;
            let later =
                Explain::default().with_size(size).with_drawing(Drawing::Json).with_canvas();
            let report = classify(&classifier, &bytes, &explaining(later)).unwrap();
            let explanation = &report.explanations.unwrap().unwrap()[0];
            assert_eq!(explanation.rendering, Rendering::None);
            let drawn = report.canvas.unwrap().draw(&explanation.heatmap, &now);
            assert_eq!(expected.file(), Some(&drawn.png()[..]));
            let channels = [3, 4, 1][drawing as usize];
            assert_eq!(drawn.channels(), channels, "{drawing:?}");
        }
    }
}

#[test]
fn pixels_in_memory_are_classified_as_their_file() {
    let (classifier, bytes) = (classifier(Options::default()), picture());
    let file = classifier.open(&bytes[..]).unwrap();
    let pixels = file.upright().unwrap();
    let same = classifier.open_pixels(pixels.dimensions(), 3, &pixels.as_raw()[..]).unwrap();
    let scores =
        |picture| classifier.classify(picture, &Request::default(), soon()).unwrap().scores;
    assert_eq!(scores(&same), scores(&file));
}
