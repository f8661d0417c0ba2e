// How high the rows of a windowed list are, and where each of them stands.

/** A row of the list before it has been seen. */
export interface Row {
  key: string
  /** Its height in px, guessed until it is measured. */
  estimate: number
}

export class Heights<R extends Row = Row> {
  private rows: readonly R[] = []
  private readonly measured = new Map<string, number>()
  private index = new Map<string, number>()
  /** Where each row begins; one more for the end. */
  private offsets = new Float64Array(1)

  setRows(rows: readonly R[]): void {
    this.rows = rows
    this.index = new Map(rows.map((row, i) => [row.key, i]))
    this.place(0)
  }

  /** Takes measured heights in and says whether any of them was another one. */
  measure(heights: Iterable<[string, number]>): boolean {
    let first = Infinity
    for (const [key, height] of heights) {
      const at = this.index.get(key)
      if (at === undefined || this.measured.get(key) === height) continue
      this.measured.set(key, height)
      if (at < first) first = at
    }
    if (first === Infinity) return false
    this.place(first)
    return true
  }

  /** Forgets all measured heights, for a list of another width. */
  forget(): void {
    this.measured.clear()
    this.place(0)
  }

  isMeasured(key: string): boolean {
    return this.measured.has(key)
  }

  get count(): number {
    return this.rows.length
  }

  get total(): number {
    return this.offsets[this.rows.length] ?? 0
  }

  /** Where a row begins, in px from the list's top. */
  offset(i: number): number {
    return this.offsets[Math.max(0, Math.min(i, this.rows.length))] ?? 0
  }

  indexOf(key: string): number | undefined {
    return this.index.get(key)
  }

  row(i: number): R | undefined {
    return this.rows[i]
  }

  /** The row at y px; the first or the last one where there is none. */
  at(y: number): number {
    let low = 0
    let high = this.rows.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if ((this.offsets[middle] ?? 0) <= y) low = middle
      else high = middle - 1
    }
    return Math.max(0, low)
  }

  private place(from: number): void {
    if (this.offsets.length !== this.rows.length + 1) {
      const former = this.offsets
      this.offsets = new Float64Array(this.rows.length + 1)
      this.offsets.set(former.subarray(0, Math.min(from + 1, former.length, this.offsets.length)))
    }
    for (let i = from; i < this.rows.length; i++) {
      const row = this.rows[i] as R
      this.offsets[i + 1] = (this.offsets[i] ?? 0) + (this.measured.get(row.key) ?? row.estimate)
    }
  }
}
