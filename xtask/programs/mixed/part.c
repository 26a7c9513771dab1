#define CLAMP(x, low, high) ((x) < (low) ? (low) : (x) > (high) ? (high) : (x))
#define EACH(i, n) for (int i = 0; i < (n); i++)

static int never(int n) { return n * 2; }

int part_score(const int *numbers, int count) {
  int score = 0;
  EACH(i, count) {
    int one = CLAMP(numbers[i], -3, 3);
    if ((one > 0 && i % 2 == 0) || one == -3)
      score += one;
    else
      score -= 1;
  }
  switch (score) {
  case 0:
    return never(score);
  case 1:
  case 2:
    score++;
    break;
  default:
    goto out;
  }
  do {
    score--;
  } while (score > 1);
out:
  return score;
}
