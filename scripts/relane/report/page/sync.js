// The videos of one arm play as one: what is done to any of them is done to all, and the first keeps the time.
// Only what is on the screen plays: a page may hold hundreds of videos.
for (const group of document.querySelectorAll("[data-sync]")) {
  const videos = [...group.querySelectorAll("video")];
  const lead = videos[0];
  let visible = true;
  const each = (video, act) => videos.forEach((other) => other !== video && act(other));
  const play = (video) => video.paused && video.play().catch(() => {});
  const follow = (video, to) => {
    const time = Math.min(to, Math.max(0, (video.duration || to) - 0.01));
    if (Math.abs(video.currentTime - time) > 0.12) video.currentTime = time;
  };
  for (const video of videos) {
    // A video out of sight that starts was started by its autoplay attribute.
    video.addEventListener("play", () => (visible ? each(video, play) : video.pause()));
    video.addEventListener("pause", () => each(video, (other) => other.pause()));
    video.addEventListener("ratechange", () => each(video, (other) => { other.playbackRate = video.playbackRate; }));
    video.addEventListener("seeked", () => video.paused && each(video, (other) => follow(other, video.currentTime)));
  }
  lead.addEventListener("timeupdate", () => each(lead, (other) => other.seeking || follow(other, lead.currentTime)));
  new IntersectionObserver((entries) => {
    visible = entries.at(-1).isIntersecting;
    visible ? play(lead) : lead.pause();
  }).observe(group);
}
