import { mount } from '@vue/test-utils'
import { describe, expect, it } from 'vitest'
import { ref } from 'vue'

import TextField from './TextField.vue'
import { useTooLong } from './useField'

describe('useTooLong', () => {
  it('counts characters, and says by how many there are too many', () => {
    const text = ref('four')
    const problem = useTooLong(text, () => 4)
    expect(problem.value).toBeUndefined()
    text.value = 'fives'
    expect(problem.value).toBe('1 character too many: 4 at most.')
    text.value = '😀😀😀😀'
    expect(problem.value).toBeUndefined()
    text.value = 'x'.repeat(1_204)
    expect(problem.value).toBe('1,200 characters too many: 4 at most.')
  })
  it('is silent where there is no limit', () => {
    expect(useTooLong(ref('x'.repeat(9_999)), () => undefined).value).toBeUndefined()
  })
})

describe('TextField', () => {
  it('keeps a text that is too long, marks it and says so', () => {
    const field = mount(TextField, { props: { label: 'Title', modelValue: 'abcdef', maxlength: 5 } })
    const input = field.get('input')
    expect(input.attributes('maxlength')).toBeUndefined()
    expect(input.element.value).toBe('abcdef')
    expect(input.attributes('aria-invalid')).toBe('true')
    expect(field.text()).toContain('1 character too many: 5 at most.')
  })
  it('says what the server said instead, if it did', () => {
    const field = mount(TextField, {
      props: { label: 'Title', modelValue: 'abcdef', maxlength: 5, error: 'Not this one.' },
    })
    expect(field.text()).toContain('Not this one.')
    expect(field.text()).not.toContain('too many')
  })
})
