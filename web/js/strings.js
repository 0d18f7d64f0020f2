/** What our panels say, in the page's language. Texts of nodes and widgets are in locales/, not here. */

const EN = {
  empty: "Run the graph to see picture and sound here.",
  plotLabel: "Sync plot",
  legend: "Orange: something sudden is seen. Blue: something sudden is heard. Dashed: it has no partner.",
  matched: "{matched} of {events} events heard",
  nothingSeen: "Nothing sudden is seen",
  offset: "offset {offset}",
  play: "Play",
  pause: "Pause",
  position: "Position",
  motion: "Motion",
  sound: "Sound",
  unplayable: "The browser cannot play this sound; save it with a Save Audio node instead.",
  noFaces: "No face found. Draw a mask instead, or use a larger frontal face.",
  facesEmpty: "Run the graph once to choose a face here, or select the node and press ▶ above it.",
  facesLabel: "Face picker",
  face: "Face {number}, {score} % sure",
  drawnBox: "Box drawn by hand",
  reset: "Undo",
  hint: "Click a face; drag to adjust its box.",
  noPicture: "The picture is no longer on the server. Run the graph again.",
};

/** @type {typeof EN} */
const ZH = {
  empty: "运行工作流后，画面与声音会显示在这里。",
  plotLabel: "同步图",
  legend: "橙色：画面中的突发事件；蓝色：声音的起音；虚线：没有与之对应的另一方。",
  matched: "{events} 个画面事件中有 {matched} 个听得到声音",
  nothingSeen: "画面中没有突发事件",
  offset: "偏移 {offset}",
  play: "播放",
  pause: "暂停",
  position: "播放位置",
  motion: "运动",
  sound: "声音",
  unplayable: "浏览器无法播放此声音，请改用“保存音频”节点。",
  noFaces: "没有找到人脸。请改为手绘遮罩，或换用更大的正脸图像。",
  facesEmpty: "先运行一次工作流，或选中本节点并点击其上方的 ▶，再在这里选择人脸。",
  facesLabel: "人脸选择",
  face: "人脸 {number}，置信度 {score}%",
  drawnBox: "手绘选框",
  reset: "撤销",
  hint: "单击选择人脸，拖动可调整选框。",
  noPicture: "服务器上已没有这张图像，请重新运行工作流。",
};

/** @type {typeof EN} */
const JA = {
  empty: "ワークフローを実行すると、映像と音がここに表示されます。",
  plotLabel: "同期プロット",
  legend: "オレンジ：映像の急な動き。青：音の立ち上がり。破線：対応する相手がないもの。",
  matched: "映像の出来事 {events} 件中 {matched} 件に音あり",
  nothingSeen: "映像に急な動きはありません",
  offset: "ずれ {offset}",
  play: "再生",
  pause: "一時停止",
  position: "再生位置",
  motion: "動き",
  sound: "音",
  unplayable: "ブラウザーでこの音声を再生できません。「音声を保存」ノードで保存してください。",
  noFaces: "顔が見つかりません。マスクを描くか、正面を向いた大きめの顔を使ってください。",
  facesEmpty: "一度ワークフローを実行するか、ノードを選択して上の ▶ を押すと、ここで顔を選べます。",
  facesLabel: "顔の選択",
  face: "顔 {number}（確度 {score} %）",
  drawnBox: "手描きの枠",
  reset: "元に戻す",
  hint: "クリックで顔を選び、ドラッグで枠を調整。",
  noPicture: "画像がサーバーに残っていません。もう一度実行してください。",
};

/**
 * The texts of a language, English where we have none.
 * @param {string} language such as "zh" or "zh-TW"
 */
export function strings(language) {
  const main = language.toLowerCase().split("-")[0];
  return main === "zh" ? ZH : main === "ja" ? JA : EN;
}

/**
 * A text with its gaps filled.
 * @param {string} text
 * @param {Record<string, string | number>} values
 */
export function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (gap, name) => String(values[name] ?? gap));
}
