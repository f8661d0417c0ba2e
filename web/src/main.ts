import './style/tokens.css'
import './style/base.css'

import { createApp } from 'vue'

import App from './App.vue'
import { newRouter } from './router'

createApp(App).use(newRouter()).mount('#app')
