//! Every text of the page, in each language.

use super::Language;

/// (name, English, Vietnamese)
const STRINGS: &[(&str, &str, &str)] = &[
    ("title", "Skin lesion screening", "Sàng lọc tổn thương da"),
    (
        "lead",
        "Send a close picture of one lesion. The page shows what it may be and where the answer comes from.",
        "Gửi ảnh chụp gần một tổn thương da. Trang này cho biết khả năng là gì và dựa vào vùng nào của ảnh.",
    ),
    (
        "disclaimer",
        "This is a screening aid for education and research. It is not a diagnosis. If a lesion worries you, see a physician.",
        "Đây là công cụ hỗ trợ sàng lọc cho giáo dục và nghiên cứu, không phải là chẩn đoán. Nếu bạn lo lắng, hãy đi khám bác sĩ.",
    ),
    ("privacy", "The server keeps no picture.", "Máy chủ không lưu ảnh nào."),
    ("choose", "Choose a picture", "Chọn ảnh"),
    ("drop", "or drop it here, or paste it", "hoặc kéo thả vào đây, hoặc dán"),
    ("formats", "JPEG, PNG, WebP, BMP, GIF or TIFF", "JPEG, PNG, WebP, BMP, GIF hoặc TIFF"),
    ("camera", "Use the camera", "Dùng máy ảnh"),
    ("capture", "Take the picture", "Chụp"),
    ("cancel", "Close the camera", "Đóng máy ảnh"),
    ("example", "Try it with a drawn example", "Thử với hình vẽ mẫu"),
    ("analyse", "Analyse", "Phân tích"),
    ("working", "Working…", "Đang xử lý…"),
    ("result", "Result", "Kết quả"),
    (
        "uncertain",
        "The model does not know pictures of this kind: it learnt from dermoscopic pictures of pigmented lesions. The percentages mean nothing here.",
        "Mô hình không biết loại ảnh này: nó được huấn luyện trên ảnh soi da của các tổn thương sắc tố. Các tỉ lệ phần trăm ở đây không có ý nghĩa.",
    ),
    (
        "flagged",
        "Reaches its warning threshold; worth showing to a physician:",
        "Đạt ngưỡng cảnh báo, nên cho bác sĩ xem:",
    ),
    (
        "decision",
        "Decision when the cost of missing a class is weighed:",
        "Quyết định khi cân nhắc cái giá của việc bỏ sót một lớp:",
    ),
    ("preview", "The chosen picture", "Ảnh đã chọn"),
    (
        "heatmap",
        "Heatmap: the redder, the more it counted",
        "Bản đồ nhiệt: càng đỏ càng quan trọng",
    ),
    ("explained", "Explained class", "Lớp được giải thích"),
    ("key", "Key for this server", "Khóa truy cập máy chủ"),
    ("method", "Method", "Phương pháp"),
    ("compare", "Compare with", "So sánh với"),
    ("opacity", "Strength of the heatmap", "Độ đậm của bản đồ nhiệt"),
    ("overlaid", "Overlaid", "Chồng lên ảnh"),
    ("side", "Side by side", "Cạnh nhau"),
    ("view", "View", "Cách xem"),
    ("latency", "Time on the server", "Thời gian trên máy chủ"),
    ("memory", "Memory of the server", "Bộ nhớ của máy chủ"),
    ("unreachable", "The server cannot be reached.", "Không kết nối được máy chủ."),
    ("nocamera", "The camera cannot be used.", "Không dùng được máy ảnh."),
];

/// Name and text of each string.
pub(super) fn all(language: Language) -> impl Iterator<Item = (&'static str, &'static str)> {
    STRINGS.iter().map(move |&(name, english, vietnamese)| match language {
        Language::English => (name, english),
        Language::Vietnamese => (name, vietnamese),
    })
}

/// The text of this name; empty where there is none.
pub(super) fn get(language: Language, wanted: &str) -> &'static str {
    all(language).find(|(name, _)| *name == wanted).map_or("", |(_, text)| text)
}
