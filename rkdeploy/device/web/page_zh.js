"use strict";
/* The page's texts in Chinese, for browsers that prefer it; what is not here stays English. */
const ZH = {
  "All streams": "全部", "Connecting": "连接中", "Frames per second": "帧率（帧/秒）", "Frames per second, all streams": "帧率（帧/秒），各路合计",
  "over 5 s; the line: the last minute": "5 秒平均；曲线：最近一分钟", "Latency in ms, last 1,024 frames": "时延（毫秒），最近 1,024 帧", "Stage": "阶段",
  "NPU load": "NPU 负载", "Temperature": "温度", "Clocks": "时钟", "Live pictures": "实时画面", "Board": "开发板",
  "Rates and times come from": "帧率和时延来自", ". Load, temperature and clocks come from the kernel of": "。负载、温度和时钟取自内核：",
  "this machine": "本机", ". Raw figures:": "。原始数据：",
  "Waiting for a frame": "等待画面", "The newest frame with its detections": "最新一帧及其检测结果", "Full screen": "全屏",
  "No detections yet": "尚无检测结果", "Nothing in this frame": "此帧中没有目标", "Show {0} large": "放大 {0}", "Show all streams": "显示全部",
  "{0}: {1} inside, {2} in, {3} out": "{0}：内有 {1}，进 {2}，出 {3}", "{0}: {1} in, {2} out": "{0}：进 {1}，出 {2}",
  "Frame {0}": "第 {0} 帧", "{0} × {1} pixels, captured {2}": "{0} × {1} 像素，采集于 {2}",
  "Wait for NPU": "等待 NPU", "Wait for {0}": "等待 {0}", "Wait for a context": "等待上下文", "Capture": "采集", "Preprocess": "预处理",
  "Inference": "推理", "Decode": "解码", "Sinks": "输出", "Capture to sinks": "采集到输出",
  "Processed": "已处理", "Dropped before the network": "推理前丢弃", "Dropped before the sinks": "输出前丢弃", "Failed": "失败",
  "Contexts at work": "工作中的上下文", "Source connected again": "来源重连次数", "Contexts opened again": "上下文重开次数", "{0} of {1}": "{0} / {1}",
  "Core {0}": "核心 {0}", "A full bar is {0}.": "满格为 {0}。", "Not available here: {0}.": "本机没有：{0}。",
  "{0}, where it is slowed down": "{0}（降频温度）", "{0}, the highest that this board allows": "{0}（本板允许的最高值）", "Slowed down by heat: {0}": "因过热降频：{0}",
  "Starting": "启动中", "No frame yet": "尚无画面", "Live": "实时", "No frame for {0} s": "{0} 秒没有画面", "No frame since {0} s": "{0} 秒没有画面",
  "{0} of {1} live": "{1} 路中 {0} 路正常", "{0} per second": "每秒 {0} 帧", "{0} dropped": "丢弃 {0}", "{0} failed": "失败 {0}",
  "1 reconnect": "重连 1 次", "{0} reconnects": "重连 {0} 次", "Last failure: {0}": "最近一次失败：{0}", "Token needed": "需要令牌", "Not reached": "无法连接",
  "a run that has not started": "尚未开始的运行",
};
